import { type Logger, pino } from 'pino';

export type { Logger };

/** What a log can be told to say, from least to most. Each says what those before it do. */
export const LOG_LEVELS = ['error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What a process logs where its configuration says nothing. */
function defaultLogLevel(): string {
  return process.env.HOLDFAST_LOG_LEVEL ?? 'info';
}

/** What of an error is logged. Libraries hang other things on theirs: that of a Redis that refuses a password has the password. */
const SHOWN = [
  'type',
  'message',
  'stack',
  'code',
  'reason',
  'status',
  'details',
  'errno',
  'syscall',
  'path',
  'address',
  'port',
];

/**
 * Has a process' log say so much from now on, and says so where that is a change.
 * @param level undefined: what a process logs where its configuration says nothing
 */
export function setLogLevel(log: Logger, level: LogLevel | undefined): void {
  const [from, to] = [log.level, level ?? defaultLogLevel()];
  if (from === to) return;
  log.level = to;
  log.info({ from, to }, 'another log level');
}

/** An error as a log shows it. */
export function loggedError(error: Error): object {
  if (!(error instanceof Error)) return { type: typeof error, message: String(error) };
  const { aggregateErrors, ...all } = pino.stdSerializers.err(error);
  const shown = Object.fromEntries(SHOWN.flatMap((key) => (all[key] === undefined ? [] : [[key, all[key]]])));
  return aggregateErrors && error instanceof AggregateError
    ? { ...shown, aggregateErrors: error.errors.map(loggedError) }
    : shown;
}

/**
 * The process' structured log: one JSON object a line on standard error, so that standard output stays for results.
 * @param part the part that speaks: fileserver, sidecar, operator, serve
 * @param fields ids that every line carries (pod, serverId, ...)
 */
export function createLogger(part: string, fields: Record<string, unknown> = {}): Logger {
  return pino(
    {
      level: defaultLogLevel(),
      base: { part, pid: process.pid, ...fields },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: loggedError },
    },
    pino.destination({ fd: 2, sync: true }),
  );
}
