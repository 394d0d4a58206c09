import { type ClusterConfig, readClusterConfig } from '../common/config.ts';
import { defaultLogLevel, type Logger } from '../common/logging.ts';

const LOOK_MS = 2000;

/**
 * Has the log say as much as the configuration asks for, now and whenever that changes. A file that cannot be read for a moment, or not
 * be used, leaves it as it is: its file server complains of it.
 * @param path of the configuration that was read as `config`
 */
export function followLogLevel(path: string, config: ClusterConfig, log: Logger): void {
  const set = ({ logLevel }: ClusterConfig) => {
    const level = logLevel ?? defaultLogLevel();
    if (log.level === level) return;
    const from = log.level;
    log.level = level;
    log.info({ from, to: level }, 'another log level');
  };
  set(config);
  setInterval(() => {
    try {
      set(readClusterConfig(path));
    } catch {
      // Looked at again soon.
    }
  }, LOOK_MS).unref();
}
