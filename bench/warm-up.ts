/** Requests ahead of the first round. */
const REQUESTS = 20_000;
const MOST_SECONDS = 12;
const STEP_SECONDS = 2;

/**
 * Has a server do what is measured until its code is compiled: an open and its close need twice the CPU time in their first seconds. It
 * gets 20,000 requests, or as many as it answers in twelve seconds; where rounds are shorter than a step the figures are nobody's to read,
 * and it gets one round.
 * @param roundSeconds how long a round lasts
 * @param run asks for so many seconds, and resolves with the number of requests that were answered
 */
export async function warmUp(roundSeconds: number, run: (seconds: number) => Promise<number>): Promise<void> {
  if (roundSeconds < 1) {
    await run(roundSeconds);
    return;
  }
  let requests = 0;
  for (let seconds = 0; seconds < MOST_SECONDS && requests < REQUESTS; seconds += STEP_SECONDS) {
    requests += await run(STEP_SECONDS);
  }
}
