import { CreateOptions } from '../../../smb/constants.ts';
import { EaFlag } from '../../../smb/fscc/constants.ts';
import { Status } from '../../../smb/status.ts';
import { StatusError } from '../../session/request.ts';
import type { CreateAsk } from './create-ask.ts';

/** The client says that it knows nothing of extended attributes (MS-SMB2 2.2.13). */
export const lacksEaKnowledge = ({ wire }: CreateAsk): boolean =>
  (wire.createOptions & CreateOptions.NO_EA_KNOWLEDGE) !== 0;

/** Who knows nothing of them does not open a file that is not understood without (MS-FSA 2.1.5.1.2). Throws StatusError. */
export async function refuseNeededEas({ folder }: CreateAsk, fd: number): Promise<void> {
  const list = await folder.extendedAttributes(fd);
  if (list.some(({ flags }) => (flags & EaFlag.needEa) !== 0)) throw new StatusError(Status.ACCESS_DENIED);
}
