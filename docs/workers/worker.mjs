// A worker in Node (pg): takes tokens, one a line, from stdin in place of a queue.
//
//     npm install && DATABASE_URL=postgres://… node worker.mjs < tokens
import readline from "node:readline";
import pg from "pg";

const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
await client.connect();
for await (const token of readline.createInterface({ input: process.stdin })) {
  // Outside of a transaction, so that what is read after it has a newer snapshot.
  let outcome = "pending";
  while (outcome === "pending") {
    const { rows } = await client.query("SELECT pgbarrier.wait($1, '10 seconds') AS outcome", [token]);
    outcome = rows[0].outcome;
    // A queue's lease is extended here, or the message given back without burning an attempt.
  }
  if (outcome === "committed") {
    console.log(token, "do the work, its rows can be read");
  } else if (outcome === "aborted") {
    console.log(token, "drop it, its transaction rolled back");
  } else { // expired, wrong database, invalid
    console.log(token, "to the dead letters:", outcome);
  }
}
await client.end();
