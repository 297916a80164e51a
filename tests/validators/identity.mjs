// An OpenID provider that is independent of the program: panva's oidc-provider, in memory.
// Standard input: one line of JSON, {"client": id, "secret": text, "redirect": url, "groups": []}.
// Standard output: one line of JSON, {"issuer": url}. Whoever logs in is who they say they are.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const [line] = await new Promise((done) =>
  createInterface({ input: process.stdin }).once("line", (text) => done([text])),
);
const asked = JSON.parse(line);
const server = createServer();
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: asked.client,
      client_secret: asked.secret,
      redirect_uris: [asked.redirect],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  pkce: { required: () => true },
  claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
  cookies: { keys: ["for tests alone"] },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, groups: asked.groups }),
  }),
});
server.on("request", provider.callback());
process.stdout.write(`${JSON.stringify({ issuer })}\n`);
