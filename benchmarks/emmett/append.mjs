// The peer emmett-postgresql: appends batches of events, each batch to a stream of its own, and says how long it took.
//
//     node append.mjs DATABASE_URL BATCHES_FILE
//
// The file has one batch a line, a JSON array of { type, data, metadata }. For every number on standard input that many
// batches are appended, and the seconds are printed.

import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';

const [url, file] = process.argv.slice(2);
const store = getPostgreSQLEventStore(url);
const batches = createInterface({ input: createReadStream(file) })[Symbol.asyncIterator]();
let streams = 0;

await store.schema.migrate();
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  const work = [];
  for (let each = 0; each < Number(line); each += 1) work.push(JSON.parse((await batches.next()).value));
  const started = performance.now();
  for (const events of work) await store.appendToStream(`history-${(streams += 1)}`, events);
  console.log((performance.now() - started) / 1000);
}
await store.close();
