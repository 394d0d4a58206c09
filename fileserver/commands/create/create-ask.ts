import type { CreateRequest } from '../../../smb/wire/create.ts';
import type { Request } from '../../session/request.ts';
import type { Folder } from '../../volume/folder.ts';
import type { Wishes } from './contexts.ts';

/** A CREATE on its way: the request, decoded and checked as far as it goes without the volume. */
export interface CreateAsk {
  request: Request;
  wire: CreateRequest;
  wishes: Wishes;
  folder: Folder;
  /** On disk; empty: the share's root. */
  names: string[];
  /** Of the file that is named: the alternate data stream that is meant. */
  stream: string | undefined;
  /** Only the file that a stream is to be of is made: the open of the stream, which is asked for, comes later. */
  isForStream?: true;
  /** The index of the volume's quotas is opened. */
  isQuotas: boolean;
  /** Another open has the same CreateGuid, and this is no replay of its CREATE: see Open.guidAgain. */
  guidAgain?: true;
}
