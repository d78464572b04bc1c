// Checks the contract documents with the validators that the public uses. Arguments: OpenAPI documents, and one of AsyncAPI, by name.
// Prints {file: [mistakes]}.
import fs from 'node:fs'
import path from 'node:path'
import { Parser } from '@asyncapi/parser'
import { createConfig, lint } from '@redocly/openapi-core'
import { Validator } from '@seriousme/openapi-schema-validator'

async function checkOpenapi(file) {
  const { valid, errors } = await new Validator().validate(file)
  const config = await createConfig({
    extends: ['recommended-strict'],
    rules: { 'operation-2xx-response': 'off', 'operation-4xx-response': 'off' }, // content is a redirect, and health never refuses
  })
  const found = await lint({ ref: file, config })
  return [...(valid ? [] : [].concat(errors).map((error) => JSON.stringify(error))),
    ...found.map((problem) => `${problem.ruleId}: ${problem.message} ${problem.location[0]?.pointer ?? ''}`)]
}

async function checkAsyncapi(file) {
  const { document, diagnostics } = await new Parser().parse(fs.readFileSync(file, 'utf8'))
  const serious = diagnostics.filter((found) => found.severity <= 1)
  return [...(document ? [] : ['it is no document']), ...serious.map((found) => `${found.code}: ${found.message} ${found.path.join('/')}`)]
}

const mistakes = {}
for (const file of process.argv.slice(2)) {
  const name = path.basename(file)
  mistakes[name] = await (name.startsWith('asyncapi') ? checkAsyncapi(file) : checkOpenapi(file))
}
console.log(JSON.stringify(mistakes, null, 2))
