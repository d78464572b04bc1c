// Reads jobs, a JSON list, from standard input; writes what came of each.
//   {"do": "verify", "token", "publicKey"}                      the header and the claims, or the error's name
//   {"do": "sign", "claims", "privateKey", "alg"?, "header"?}   a token
//   {"do": "hs256", "claims", "secret"}                         one with the secret's bytes as its key
//   {"do": "none", "claims"}                                    one without a signature
import { SignJWT, UnsecuredJWT, importPKCS8, importSPKI, jwtVerify } from 'jose'

const TYP = 'beckon-operator+jwt'

const jobs = {
  async verify({ token, publicKey }) {
    const key = await importSPKI(publicKey, 'EdDSA')
    try {
      const { payload, protectedHeader } = await jwtVerify(token, key, {
        algorithms: ['EdDSA'], typ: TYP, audience: 'coordinator', requiredClaims: ['sub', 'exp', 'iat', 'scope', 'clients'],
      })
      return { claims: payload, header: protectedHeader }
    } catch (error) {
      return { error: error.code }
    }
  },
  async sign({ claims, privateKey, alg = 'EdDSA', header = {} }) {
    const key = await importPKCS8(privateKey, alg)
    return { token: await new SignJWT(claims).setProtectedHeader({ alg, typ: TYP, ...header }).sign(key) }
  },
  async hs256({ claims, secret }) {
    const key = new TextEncoder().encode(secret)
    return { token: await new SignJWT(claims).setProtectedHeader({ alg: 'HS256', typ: TYP }).sign(key) }
  },
  async none({ claims }) {
    return { token: new UnsecuredJWT(claims).encode() }
  },
}

let text = ''
for await (const piece of process.stdin) text += piece
const results = []
for (const job of JSON.parse(text)) results.push(await jobs[job.do](job))
console.log(JSON.stringify(results))
