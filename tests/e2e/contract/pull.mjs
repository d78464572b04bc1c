// Pulls a file with a client that is made from the OpenAPI document alone. One argument, JSON: {document, url, token, clientId, fileName};
// prints {row, sha256} on success. The CA is in NODE_EXTRA_CA_CERTS.
import crypto from 'node:crypto'
import fs from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { OpenAPIClientAxios } from 'openapi-client-axios'
import { parse } from 'yaml'

const { document, url, token, clientId, fileName } = JSON.parse(process.argv[2])
const api = new OpenAPIClientAxios({
  definition: parse(fs.readFileSync(document, 'utf8')),
  withServer: { url },
  axiosConfigDefaults: { headers: { Authorization: `Bearer ${token}` }, proxy: false },
})
const client = await api.init()

const { clients } = (await client.listClients()).data
if (!clients.some((one) => one.id === clientId && one.online)) throw new Error(`${clientId} is not online`)
const { requestId } = (await client.createDownload(null, { clientId, fileName })).data
let row
for (;;) {
  row = (await client.getDownload({ requestId })).data
  if (!['queued', 'accepted', 'running'].includes(row.status)) break
  await setTimeout(100)
}
if (row.status !== 'completed') throw new Error(JSON.stringify(row))
const content = (await client.getContent({ requestId }, null, { responseType: 'arraybuffer' })).data
console.log(JSON.stringify({ row, sha256: crypto.createHash('sha256').update(content).digest('hex') }))
