// The peer emmett-postgresql: appends batches of events, each batch to a stream of its own, and says how long it took.
//
//     node append.mjs DATABASE_URL BATCHES_FILE
//
// The file has one batch a line, a JSON array of { type, data, metadata }. For every number on standard input that many
// batches are appended, and the seconds are printed.

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';

const [url, file] = process.argv.slice(2);
const store = getPostgreSQLEventStore(url);
const batches = readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
let appended = 0;

await store.schema.migrate();
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  const end = appended + Number(line);
  const started = performance.now();
  for (; appended < end; appended += 1) await store.appendToStream(`history-${appended}`, batches[appended]);
  console.log((performance.now() - started) / 1000);
}
await store.close();
