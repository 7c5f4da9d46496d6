// An OpenID Connect issuer on this machine, by oidc-provider: whoever types a name is that person.
//
//   node test/lib/issuer.mjs PORT REDIRECT
import Provider from 'oidc-provider';

const [port, redirect] = process.argv.slice(2);
const account = (_, id) => ({
  accountId: id,
  claims: () => ({ sub: id, name: id, email: `${id.replace('unverified-', '')}@issuer.test`, email_verified: !id.startsWith('unverified-') }),
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'reelvault',
    client_secret: 'a secret of this issuer alone',
    redirect_uris: [redirect],
    token_endpoint_auth_method: 'client_secret_post',
  }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  // As Google does: what was asked for stands in the token itself.
  conformIdTokenClaims: false,
  cookies: { keys: ['for as long as this runs'] },
  pkce: { required: () => true },
  findAccount: account,
});
provider.listen(Number(port), '127.0.0.1', () => console.log('listening'));
