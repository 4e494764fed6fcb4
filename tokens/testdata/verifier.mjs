// A verifier in one file and without dependencies, written from ../PROTOCOL.md; the
// numbers in comments are its sections. Node 20 or newer.
//
//   node verifier.mjs vectors vectors.json     decides about every vector
//   node verifier.mjs serve                    joins, follows, and answers GET / for a
//                                              bearer token with 200, 401 or 503
//
// serve reads IMARA_ISSUER, IMARA_CLIENT_ID and IMARA_CLIENT_SECRET of a key with the
// scope revocations:read, API_AUDIENCE, and LISTEN (127.0.0.1:0), LEASE_MS (10000).
//
// MUTANT breaks one rule, so that a test can show that the examination finds it.

import { createPublicKey, randomUUID, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'

const mutants = ['prefix', 'inclusive', 'floor', 'raised-floor', 'snapshot', 'pages', 'end', 'cache', 'type', 'signature',
  'issuer', 'audience', 'expiry', 'terminal', 'stale', 'tip', 'joining', 'touch', 'secret']
const mutant = process.env.MUTANT || ''
if (mutant && !mutants.includes(mutant)) throw new Error(`MUTANT is one of ${mutants.join(' ')}`)
const right = (name) => mutant !== name

// ---- 2. The token

const leeway = 5 // seconds
const algorithms = {
  ES256: (data, key, sig) => verify('sha256', data, { key, dsaEncoding: 'ieee-p1363' }, sig),
  RS256: (data, key, sig) => verify('sha256', data, key, sig),
  EdDSA: (data, key, sig) => verify(null, data, key, sig),
}
const canonical = (alg) => (alg === 'Ed25519' ? 'EdDSA' : alg)
const forbidden = ['crit', 'b64', 'jku', 'jwk', 'x5u', 'x5c', 'cty', 'zip', 'enc', 'p2c']

// decode is base64url with one spelling; null for any other.
function decode(part) {
  const data = Buffer.from(part, 'base64url')
  return data.toString('base64url') === part ? data : null
}

const texts = ['iss', 'sub', 'jti', 'client_id', 'org']
const integers = ['exp', 'iat', 'rv', 'nbf']
const claimNames = [...texts, ...integers, 'aud', 'scope', 'crd', 'cnf']
const headerNames = ['alg', 'typ', 'kid', ...forbidden]

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const wellFormed = /^(?:[^\\]|\\[^u]|\\u(?!d[89a-f])....|\\ud[89ab]..\\ud[c-f]..)*$/is
const folded = (name) => name.toUpperCase().toLowerCase()

// object parses a JSON object whose member names are exact, and distinct in any case.
function object(data, known) {
  let text, value
  try { value = JSON.parse(text = utf8.decode(data)) } catch { return null }
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !wellFormed.test(text)) return null
  const members = membersOf(text)
  const names = members.map(([name]) => name)
  if (names.length > 32 || new Set(names.map(folded)).size !== names.length) return null
  if (names.some((name) => known.includes(folded(name)) && !known.includes(name))) return null
  return members.every(([name, next]) => !integers.includes(name) || /^\d{1,16}(?![\d.eE])/.test(next)) ? value : null
}

// membersOf are the names of a JSON object that is known to be well formed, with
// repetitions, each with the text where its value begins.
function membersOf(text) {
  const members = []
  let depth = 0
  for (const match of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:\s*)?|[{}[\]]/g)) {
    if ('{['.includes(match[0])) depth++
    else if ('}]'.includes(match[0])) depth--
    else if (depth === 1 && match[1]) {
      const end = match.index + match[0].length
      members.push([JSON.parse(match[0].slice(0, -match[1].length)), text.slice(end, end + 20)])
    }
  }
  return members
}

const text = (v) => typeof v === 'string' && v !== ''
const number = (v) => Number.isSafeInteger(v) && v > 0

// claimsOf checks that every claim is there, and of its type.
function claimsOf(payload) {
  const c = object(payload, claimNames)
  if (!c || 'cnf' in c || !texts.every((n) => text(c[n])) || ![c.exp, c.iat, c.rv].every(number)) return null
  c.aud = typeof c.aud === 'string' ? [c.aud] : c.aud
  if (!Array.isArray(c.aud) || c.aud.length === 0 || !c.aud.every((a) => typeof a === 'string')) return null
  if (!Number.isSafeInteger(c.nbf ?? 0) || c.nbf === null) return null
  return [c.scope, c.crd].every((v) => v === undefined || typeof v === 'string') ? c : null
}

// JWKSet finds keys by kid. Each is of one algorithm.
class JWKSet {
  constructor(document) {
    this.fetched = Date.now()
    this.keys = new Map()
    for (const jwk of document.keys) {
      const alg = canonical(jwk.alg)
      if (!Object.hasOwn(algorithms, alg) || (jwk.use && jwk.use !== 'sig')) continue
      const key = createPublicKey({ key: jwk, format: 'jwk' })
      if (alg === 'RS256' && key.asymmetricKeyDetails.modulusLength < 2048) continue
      this.keys.set(jwk.kid, { alg, key })
    }
  }
}

const day = 24 * 3600e3 // ms

// Tokens of one issuer for one audience. What is found of text and signature is kept.
class Tokens {
  constructor(issuer, audience, jwks) {
    // asking: how many times a signing key was cut or touched and the set is not there again.
    Object.assign(this, { issuer, audience, jwks, asking: 0, seen: new Map(), unknownKid: () => {} })
  }

  // read returns kid and claims of a token that is good but for the revocations, null for
  // one that is not, and undefined while its signing key is not known.
  read(raw) {
    if (Date.now() - this.jwks.fetched > day) return undefined
    let token = this.seen.get(raw)
    if (!token) {
      if (!(token = this.parse(raw))) return token
      if (this.seen.size >= 10000) this.seen.clear()
      this.seen.set(raw, token)
    }
    if (!this.jwks.keys.has(token.kid)) return this.missing()
    const { claims } = token
    const now = Date.now() / 1000
    if (right('issuer') && claims.iss !== this.issuer) return null
    if (right('audience') && !claims.aud.includes(this.audience)) return null
    if (right('expiry') && now >= claims.exp + leeway) return null
    return now + leeway < claims.iat || now + leeway < (claims.nbf ?? 0) ? null : token
  }

  missing() {
    this.unknownKid()
    return this.asking ? undefined : null
  }

  parse(raw) {
    if (typeof raw !== 'string' || raw.length > 8192 || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(raw)) return null
    const [head, payload, signature] = raw.split('.').map(decode)
    const header = head && payload && signature && object(head, headerNames)
    if (!header || forbidden.some((m) => m in header)) return null
    if (right('type') && !/^(application\/)?at\+jwt$/i.test(header.typ)) return null
    if (typeof header.kid !== 'string' || !/^[\w-]{1,64}$/.test(header.kid)) return null
    const known = this.jwks.keys.get(header.kid)
    if (!known) return this.missing()
    if (known.alg !== canonical(header.alg)) return null
    const signed = Buffer.from(raw.slice(0, raw.lastIndexOf('.')))
    if (right('signature') && !algorithms[known.alg](signed, known.key, signature)) return null
    const claims = claimsOf(payload)
    return claims && { kid: header.kid, claims }
  }
}

// ---- 3 to 5. The view, and the decision

const clocks = () => ({ monotonic: performance.now(), wall: Date.now() }) // ms
const hour = 3600e6 // µs

// A View is what one session has told.
class View {
  constructor(lease) {
    Object.assign(this, { lease, session: '', cuts: new Map(), watermark: 0, floor: 0, complete: null, ended: false })
  }

  begin(joined) {
    Object.assign(this, { session: joined.session, watermark: joined.watermark, floor: joined.floor })
    for (const entry of joined.cuts) {
      if (entry.subject === `v:${this.session}` && right('end')) this.ended = true
      if (right('snapshot')) this.apply(entry)
    }
    if (!right('joining')) this.complete = clocks()
  }

  apply({ subject, kind, seq, terminal }) {
    if (kind !== 'cut' && right('touch')) return
    if (!right('secret') && subject.startsWith('s:')) return
    const position = terminal && right('terminal') ? Infinity : seq
    this.cuts.set(subject, Math.max(position, this.cuts.get(subject) ?? 0))
  }

  // page takes in the answer to a poll that was sent at some time. It returns the head of
  // the last entry that is new.
  page({ entries, tip, floor, age_us: age }, sent) {
    let head
    if (age < 0 || age > hour) this.ended = true
    for (const entry of entries) {
      if (this.ended || entry.seq <= this.watermark) continue
      if (entry.seq !== this.watermark + 1) this.ended = true
      else {
        if (right('pages')) this.apply(entry)
        this.watermark = entry.seq
        head = entry.head
        if (entry.subject === `v:${this.session}` && right('end')) this.ended = true
      }
    }
    if (this.ended || (this.watermark < tip && right('tip'))) return head
    if (floor > this.floor && right('raised-floor')) {
      this.floor = floor // first, then the entries that it makes needless
      for (const [subject, position] of this.cuts) if (position <= floor) this.cuts.delete(subject)
    }
    const complete = { monotonic: sent.monotonic - age / 1000, wall: sent.wall - age / 1000 }
    if (!this.complete || complete.monotonic > this.complete.monotonic) this.complete = complete
    return head
  }

  age() {
    if (!this.complete) return Infinity
    const now = clocks()
    return Math.max(now.monotonic - this.complete.monotonic, now.wall - this.complete.wall)
  }

  decide({ kid, claims: c }) {
    const [client, org, jti, key] = right('prefix') ? ['c', 'o', 'j', 'k'] : ['client', 'org', 'jti', 'kid']
    const subjects = [`${client}:${c.client_id}`, `${org}:${c.org}`, `${jti}:${c.jti}`, `${key}:${kid}`, '*']
    if (c.crd) subjects.push(`s:${c.crd}`)
    const denies = (position) => position !== undefined && (right('inclusive') ? position > c.rv : position >= c.rv)
    const revoked = subjects.some((s) => denies(this.cuts.get(s))) || (c.rv < this.floor && right('floor'))
    const current = !this.ended && (this.age() <= this.lease || (this.complete && !right('stale')))
    if (revoked && this.complete) return 'refuse'
    return current ? 'accept' : 'unknown'
  }
}

const remembered = new Map() // by the mutant that keeps verdicts

function decide(tokens, view, raw) {
  if (remembered.has(raw)) return remembered.get(raw)
  const token = tokens.read(raw)
  const verdict = token ? view.decide(token) : token === null ? 'refuse' : 'unknown'
  if (!right('cache') && verdict !== 'unknown') remembered.set(raw, verdict)
  return verdict
}

// ---- 6. The examination

function answer(x, lease) {
  const tokens = new Tokens(x.issuer, x.audience, new JWKSet(x.keys))
  const verdicts = []
  for (const { joined, pages } of x.sessions) {
    const view = new View(lease)
    const ask = () => verdicts.push(x.tokens.map((raw) => decide(tokens, view, raw)))
    ask()
    view.begin(joined)
    ask()
    for (const page of pages) {
      view.page(page, clocks())
      ask()
    }
  }
  return verdicts
}

// ---- 7. The vectors

function vectors(file) {
  const all = JSON.parse(readFileSync(file, 'utf8'))
  const tokens = new Tokens(all.issuer, all.audience, new JWKSet(all.keys))
  let wrong = 0
  for (const { name, feed, token, verdict } of all.vectors) {
    const view = new View(all.lease_ms)
    const { joined, pages } = all.feeds[feed]
    if (joined) view.begin(joined)
    for (const page of pages) view.page(page, clocks())
    const got = decide(tokens, view, token)
    remembered.clear()
    if (got !== verdict) {
      wrong++
      console.log(`${name}: ${got}, want ${verdict}`)
    }
  }
  console.log(`${all.vectors.length} vectors, ${wrong} wrong`)
  return wrong
}

// ---- 4. The feed

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

class Feed {
  constructor(config) {
    Object.assign(this, config, { view: new View(config.lease), access: null, stopped: false, previous: undefined })
  }

  async token() {
    if (this.access && Date.now() < this.access.until) return this.access.token
    const basic = Buffer.from([this.clientId, this.secret].map(encodeURIComponent).join(':')).toString('base64')
    const response = await fetch(`${this.issuer}/oauth2/token`, {
      method: 'POST', redirect: 'error', headers: { Authorization: `Basic ${basic}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'revocations:read' }),
    })
    if (!response.ok) throw new Error(`no token: ${response.status} ${await response.text()}`)
    const { access_token: token, expires_in: life } = await response.json()
    this.access = { token, until: Date.now() + life * 900 }
    return token
  }

  async call(method, path, body, timeout = 30000) {
    for (let again = true; ; again = false) {
      const response = await fetch(`${this.issuer}/feed/sessions${path}`, {
        method, redirect: 'error', signal: AbortSignal.timeout(timeout), body: body && JSON.stringify(body),
        headers: { Authorization: `Bearer ${await this.token()}`, 'Content-Type': 'application/json' },
      })
      if (response.status !== 401 || !again) {
        return { status: response.status, body: response.status === 204 ? null : await response.json() }
      }
      this.access = null // it was cut: another one, at once
    }
  }

  async join() {
    const join = {
      protocol: 2, name: this.name, lease_ms: this.lease, implementation: 'imara-example-node/1.0',
      algorithms: Object.keys(algorithms), replaces: this.previous,
    }
    let { status, body } = await this.call('POST', '', join)
    if (status === 200) {
      const { ticket } = body.examination
      ;({ status, body } = await this.call('POST', '', { ...join, ticket, verdicts: answer(body.examination, this.lease) }))
    }
    if (status === 409 || status === 426) {
      console.log(`refused ${status} ${body.error} ${(body.rules ?? []).join(' ')}`)
      process.exit(1)
    }
    if (status !== 201) throw new Error(`join: ${status} ${body.error_description}`)
    const view = new View(body.lease_ms ?? this.lease)
    view.begin(body)
    this.previous = body.session
    return { view, head: body.head, unproved: body.unproved ?? [] }
  }

  // follow polls until the session ends. What it knows decides from its first evidence.
  async follow({ view, head, unproved }) {
    for (let wait = 0, pause = 25; !view.ended && !this.stopped;) {
      const nonce = randomUUID()
      const query = new URLSearchParams({ nonce, after: view.watermark, head, wait_ms: wait })
      const sent = clocks()
      const poll = await this.call('GET', `/${view.session}?${query}`, undefined, wait + view.lease / 2).catch((error) => ({ error }))
      const ours = poll.status === 200 && poll.body.nonce === nonce && poll.body.session === view.session
      if (poll.status === 404 || poll.status === 410) view.ended = true
      else if (!ours) {
        await sleep(pause / 2 + Math.random() * pause)
        pause = Math.min(2 * pause, 1000)
      } else {
        head = view.page(poll.body, sent) ?? head
        if (poll.body.entries.some((e) => e.subject.startsWith('k:'))) this.keysChanged()
        wait = Math.min(1000, view.lease / 4)
        pause = 25
        if (view.complete && this.view !== view) {
          this.view = view
          this.ready(view.session, unproved)
        }
      }
    }
  }

  async run() {
    for (let pause = 25; !this.stopped; pause = Math.min(2 * pause, 1000)) {
      try {
        await this.follow(await this.join())
        pause = 25
      } catch (error) {
        console.error(String(error))
      }
      await sleep(pause)
    }
  }

  async leave() {
    this.stopped = true
    const { session } = this.view
    this.view = new View(this.lease) // nothing is accepted any more
    if (session) await this.call('DELETE', `/${session}`, undefined, 2000).catch(() => {})
  }
}

// published fetches the JWK Set that the metadata name.
async function published(issuer) {
  const u = new URL(issuer)
  const path = u.pathname === '/' ? '' : u.pathname
  const get = async (url) => (await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(5000) })).json()
  const metadata = await get(`${u.origin}/.well-known/oauth-authorization-server${path}`)
  if (metadata.issuer !== issuer) throw new Error(`the metadata are of ${metadata.issuer}`)
  return new JWKSet(await get(metadata.jwks_uri))
}

async function serve() {
  const { IMARA_ISSUER: issuer, IMARA_CLIENT_ID: clientId, IMARA_CLIENT_SECRET: secret, API_AUDIENCE: audience } = process.env
  const lease = Number(process.env.LEASE_MS || 10000)
  const tokens = new Tokens(issuer, audience, await published(issuer))
  let tried = Date.now()
  const refresh = async (oldest) => {
    if (Date.now() - tried < oldest) return false
    tried = Date.now()
    try {
      tokens.jwks = await published(issuer)
      return true
    } catch (error) {
      console.error(String(error))
      return false
    }
  }
  setInterval(refresh, 60000, 300000)
  tokens.unknownKid = () => refresh(10000)
  const keysChanged = async () => {
    tokens.asking++
    while (!await refresh(0)) await sleep(250)
    tokens.asking--
  }

  const server = http.createServer((request, response) => {
    const raw = /^Bearer +(.*)$/i.exec(request.headers.authorization ?? '')?.[1]
    switch (raw ? decide(tokens, feed.view, raw) : 'refuse') {
      case 'accept': return response.writeHead(200).end()
      case 'refuse': return response.writeHead(401, { 'WWW-Authenticate': `Bearer realm="${audience}"` }).end()
      default: return response.writeHead(503, { 'Retry-After': '1' }).end()
    }
  })
  const feed = new Feed({
    issuer, clientId, secret, lease, keysChanged, name: `node ${mutant || 'verifier'}`,
    ready: (session, unproved) => {
      const { address, port } = server.address()
      console.log(`ready http://${address}:${port}/ ${session} ${unproved.join(' ')}`)
    },
  })
  const [host, port] = (process.env.LISTEN || '127.0.0.1:0').split(':')
  server.listen(Number(port), host, () => feed.run())
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => feed.leave().then(() => process.exit(0)))
}

const [command, file] = process.argv.slice(2)
if (command === 'vectors') process.exit(vectors(file) ? 1 : 0)
else if (command === 'serve') await serve()
else console.error('usage: node verifier.mjs vectors FILE | serve')
