import type { StoredAttributes } from '../../volume/attributes.ts';
import type { CreateAsk } from './create-ask.ts';

/**
 * Whether a replayed CREATE has made this file itself, at a server that died or lost the table before the open was granted: there is no
 * open to give to its client, and the file is in nobody's way.
 */
export function isMadeBy({ request, wishes }: CreateAsk, { createGuid }: StoredAttributes): boolean {
  return request.isReplay && createGuid !== undefined && wishes.durable?.createGuid.equals(createGuid) === true;
}
