// An MCP client's way to a token, with nothing but the SDK's own code: it calls the API,
// finds the authorization server from the answer, and asks for a token as a client of
// client_credentials. Its first argument is where the SDK is.
const client = name => import(`file://${process.argv[2]}/dist/esm/client/${name}.js`)
const { ClientCredentialsProvider } = await client('auth-extensions')
const { auth } = await client('auth')
const { withOAuth } = await client('middleware')
const { API_URL, CLIENT_ID, CLIENT_SECRET, IMARA_ISSUER } = process.env

const provider = () => new ClientCredentialsProvider({ clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, expectedIssuer: IMARA_ISSUER })
const answer = await withOAuth(provider(), API_URL)(fetch)(API_URL)
console.log('called', answer.status)
const alone = provider()
console.log('asked', await auth(alone, { serverUrl: API_URL }))
console.log('called', (await fetch(API_URL, { headers: { Authorization: `Bearer ${alone.tokens().access_token}` } })).status)
