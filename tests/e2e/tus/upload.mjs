// Uploads a file with tus-js-client, aborts in the middle and goes on. One argument, JSON:
// {file, endpoint or uploadUrl, ca, cert, key, abortAt}; prints {url, requests} on success.
import fs from 'node:fs'
import * as tus from 'tus-js-client'

const options = JSON.parse(process.argv[2])
const requests = []
let aborted = false

const upload = new tus.Upload(fs.createReadStream(options.file), {
  protocol: 'ietf-draft-05',
  endpoint: options.endpoint,
  uploadUrl: options.uploadUrl,
  uploadSize: fs.statSync(options.file).size,
  chunkSize: 16 * 1024 * 1024,
  retryDelays: [100, 200, 400],
  httpStack: new tus.DefaultHttpStack({
    ca: fs.readFileSync(options.ca),
    cert: fs.readFileSync(options.cert),
    key: fs.readFileSync(options.key),
  }),
  onAfterResponse: (request, response) => {
    requests.push([request.getMethod(), response.getStatus()])
  },
  onProgress: async (sent) => {
    if (aborted || sent < options.abortAt) return
    aborted = true
    await upload.abort()
    upload.start() // goes on at its URL
  },
  onError: (error) => {
    console.error(String(error), JSON.stringify(requests))
    process.exit(1)
  },
  onSuccess: () => {
    console.log(JSON.stringify({ url: upload.url, requests, aborted }))
  },
})

upload.start()
