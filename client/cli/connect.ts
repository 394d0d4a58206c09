import { parseDurationMs } from '../../common/time.ts';
import { Client } from '../file/client.ts';
import { UsageError } from './errors.ts';
import { passwordSource } from './password.ts';
import { parseSmbUrl, type SmbUrl } from './smb-url.ts';

/** Options that all commands have which talk to a server. */
export interface ConnectOptions {
  passwordFile?: string;
  encrypt?: boolean;
  /** As people write it: 60s. */
  timeout?: string;
}

/** Connects to where an address points. */
export async function connectTo(text: string, options: ConnectOptions): Promise<{ client: Client; url: SmbUrl }> {
  const url = parseSmbUrl(text);
  const password = await passwordSource(options.passwordFile, url.user);
  const client = await Client.connect({
    addresses: url.addresses,
    user: url.user,
    domain: url.domain,
    password,
    share: url.share,
    encryption: options.encrypt ?? false,
    operationTimeoutMs: durationMs(options.timeout ?? '60s'),
  });
  return { client, url };
}

/** Connects, works, and logs off whatever happens. */
export async function withClient<T>(
  text: string,
  options: ConnectOptions,
  work: (client: Client, url: SmbUrl) => Promise<T>,
): Promise<T> {
  const { client, url } = await connectTo(text, options);
  try {
    return await work(client, url);
  } finally {
    await client.close();
  }
}

export function durationMs(text: string): number {
  try {
    return parseDurationMs(text);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}
