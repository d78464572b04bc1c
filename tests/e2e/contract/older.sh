#!/bin/sh
# As users of the older design have it, word for word: asks a client for a file over REST, and waits until it is there.
# The CA and the token, which that design did not have, come from .curlrc.
#
#   older.sh URL CLIENT FILE
set -e
URL=$1 CLIENT=$2 FILE=$3

curl -sf "$URL/health"; echo
curl -sf "$URL/clients"; echo

REQUEST=$(curl -sf -X POST "$URL/download" -H "Content-Type: application/json" \
    -d "{\"clientId\": \"$CLIENT\", \"fileName\": \"$FILE\"}" | sed 's/.*"requestId":"\([^"]*\)".*/\1/')

STATUS=queued
while [ "$STATUS" != completed ] && [ "$STATUS" != failed ]; do
    STATUS=$(curl -sf "$URL/download/$REQUEST" | grep -o '"status":"[a-z]*"' | head -n 1 | cut -d '"' -f 4)
    sleep 0.2
done

curl -sf "$URL/downloads"; echo
curl -sf "$URL/download/$REQUEST"; echo
[ "$STATUS" = completed ]
