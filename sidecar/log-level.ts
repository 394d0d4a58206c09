import { type ClusterConfig, readClusterConfig } from '../common/config.ts';
import { type Logger, setLogLevel } from '../common/logging.ts';

const LOOK_MS = 2000;

/**
 * Has the log say as much as the configuration asks for, now and whenever that changes. A file that cannot be read for a moment, or not
 * be used, leaves it as it is: its file server complains of it.
 * @param path of the configuration that was read as `config`
 */
export function followLogLevel(path: string, config: ClusterConfig, log: Logger): void {
  setLogLevel(log, config.logLevel);
  setInterval(() => {
    try {
      setLogLevel(log, readClusterConfig(path).logLevel);
    } catch {
      // Looked at again soon.
    }
  }, LOOK_MS).unref();
}
