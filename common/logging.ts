import { type Logger, pino } from 'pino';

export type { Logger };

/**
 * The process' structured log: one JSON object a line on standard error, so that standard output stays for results.
 * @param part the part that speaks: fileserver, sidecar, operator, serve
 * @param fields ids that every line carries (pod, serverId, ...)
 */
export function createLogger(part: string, fields: Record<string, unknown> = {}): Logger {
  return pino(
    {
      level: process.env.HOLDFAST_LOG_LEVEL ?? 'info',
      base: { part, pid: process.pid, ...fields },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: pino.stdSerializers.err },
    },
    pino.destination({ fd: 2, sync: true }),
  );
}
