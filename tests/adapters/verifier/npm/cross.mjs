// Signs and verifies with did-jwt-vc and @digitalbazaar/vc; reads one JSON object, writes one.
import { DataIntegrityProof } from '@digitalbazaar/data-integrity'
import * as Multikey from '@digitalbazaar/ed25519-multikey'
import { Ed25519Signature2020 } from '@digitalbazaar/ed25519-signature-2020'
import { Ed25519VerificationKey2020 } from '@digitalbazaar/ed25519-verification-key-2020'
import { cryptosuite } from '@digitalbazaar/eddsa-rdfc-2022-cryptosuite'
import * as vc from '@digitalbazaar/vc'
import { EdDSASigner } from 'did-jwt'
import { createVerifiableCredentialJwt, verifyCredential } from 'did-jwt-vc'
import { Resolver } from 'did-resolver'
import { getResolver } from 'key-did-resolver'

const asked = JSON.parse(await new Response(process.stdin).text())
const resolver = new Resolver(getResolver())

const documentLoader = async (url) => {
  if (url in asked.contexts) return { documentUrl: url, document: asked.contexts[url] }
  if (!url.startsWith('did:key:')) throw new Error(`unknown address ${url}`)
  const did = url.split('#')[0]
  const method = {
    '@context': 'https://w3id.org/security/multikey/v1',
    id: `${did}#${did.slice(8)}`,
    type: 'Multikey',
    controller: did,
    publicKeyMultibase: did.slice(8)
  }
  if (url.includes('#')) {
    const old = { '@context': 'https://w3id.org/security/suites/ed25519-2020/v1' }
    const chosen = { ...method, ...old, type: 'Ed25519VerificationKey2020' }
    return { documentUrl: url, document: asked.isMultikey ? method : chosen }
  }
  const document = {
    '@context': ['https://www.w3.org/ns/did/v1'],
    id: did,
    assertionMethod: [method.id],
    authentication: [method.id]
  }
  return { documentUrl: url, document }
}

const suiteFor = async (name, multikeys) => {
  asked.isMultikey = name !== 'Ed25519Signature2020'
  if (name === 'Ed25519Signature2020') {
    const key = multikeys && (await Ed25519VerificationKey2020.from(multikeys))
    return new Ed25519Signature2020(key ? { key } : {})
  }
  const signer = multikeys && (await Multikey.from({ ...multikeys, type: 'Multikey' })).signer()
  return new DataIntegrityProof({ cryptosuite, ...(signer && { signer }) })
}

const sign = async ({ kind, credential, key }) => {
  if (kind === 'VC-JWT') {
    const signer = EdDSASigner(Buffer.from(key.seed, 'hex'))
    const issuer = { did: key.did, signer, alg: 'EdDSA' }
    const header = { header: { kid: `${key.did}#${key.did.slice(8)}` } }
    return createVerifiableCredentialJwt(credential, issuer, header)
  }
  const id = `${key.did}#${key.did.slice(8)}`
  const multikeys = { id, controller: key.did, ...key.multikeys }
  const type = 'Ed25519VerificationKey2020'
  const suite = await suiteFor(kind, { ...multikeys, type })
  return vc.issue({ credential, suite, documentLoader })
}

const verify = async ({ kind, document }) => {
  try {
    if (kind === 'VC-JWT') return (await verifyCredential(document, resolver)).verified
    const suite = await suiteFor(kind)
    const checkStatus = async () => ({ verified: true }) // only signatures are compared
    const options = { credential: document, suite, documentLoader, checkStatus }
    const result = await vc.verifyCredential(options)
    const errors = [result.error, ...(result.error?.errors ?? [])]
    return result.verified || errors.map((one) => String(one?.stack ?? one)).join(' | ')
  } catch (error) {
    return String(error)
  }
}

const answers = []
for (const task of asked.tasks) {
  answers.push(await (asked.verb === 'sign' ? sign(task) : verify(task)))
}
process.stdout.write(JSON.stringify(answers))
