import { QueryInfoFlags } from '../../../smb/constants.ts';
import { type FullEa, fileFullEaInformation, fileGetEaInformation, selectedEas } from '../../../smb/fscc/ea.ts';
import { Access } from '../../../smb/security/access-mask.ts';
import { Status } from '../../../smb/status.ts';
import { WireError } from '../../../smb/wire/errors.ts';
import type { QueryInfoRequest } from '../../../smb/wire/query-info.ts';
import type { OpenFile } from '../../opens/open-file.ts';
import type { Answer } from './answer.ts';

/** FileFullEaInformation (MS-SMB2 3.3.5.20.1, MS-FSA 2.1.5.12.10). Throws PosixError. */
export async function queryExtendedAttributes(open: OpenFile, wanted: QueryInfoRequest): Promise<Answer> {
  if (!open.may(Access.readEa)) return { status: Status.ACCESS_DENIED };
  const { folder, metadataFd } = open;
  const { eaSize } = await folder.attributes(metadataFd);
  const all = eaSize > 0 ? await folder.extendedAttributes(metadataFd) : [];
  if (wanted.input.length > 0) return named(all, wanted);
  if (all.length === 0) return { status: Status.NO_EAS_ON_FILE };
  const first = firstOf(open, wanted);
  if (first < 0) return { status: Status.NONEXISTENT_EA_ENTRY };
  const rest = all.slice(first);
  if (rest.length === 0) return { status: Status.NO_MORE_EAS };
  const single = (wanted.flags & QueryInfoFlags.RETURN_SINGLE_ENTRY) !== 0;
  const { list, answer } = fitting(single ? rest.slice(0, 1) : rest, wanted.outputBufferLength);
  // Who got all at once may ask for all again without saying so.
  open.nextEa = first === 0 && !single && list.length === rest.length ? 0 : first + list.length;
  return answer;
}

/** The attributes that the client names (FILE_GET_EA_INFORMATION). */
function named(all: readonly FullEa[], { input, outputBufferLength }: QueryInfoRequest): Answer {
  try {
    return fitting(selectedEas(all, fileGetEaInformation.decode(input)), outputBufferLength).answer;
  } catch (error) {
    if (error instanceof WireError) return { status: Status.EA_LIST_INCONSISTENT };
    throw error;
  }
}

/** Where the listing goes on: at the index that the client gives, counted from 1, or behind what it got last. */
function firstOf(open: OpenFile, { flags, additionalInformation }: QueryInfoRequest): number {
  if ((flags & QueryInfoFlags.INDEX_SPECIFIED) !== 0) return additionalInformation - 1;
  return (flags & QueryInfoFlags.RESTART_SCAN) !== 0 ? 0 : open.nextEa;
}

/** As many whole entries as there is room for. */
function fitting(list: readonly FullEa[], room: number): { list: readonly FullEa[]; answer: Answer } {
  let fits = list;
  while (fits.length > 0 && fileFullEaInformation.size([...fits]) > room) fits = fits.slice(0, -1);
  if (fits.length === 0) return { list: fits, answer: { status: Status.BUFFER_TOO_SMALL } };
  const output = fileFullEaInformation.encode([...fits]);
  const answer = { output, minimumSize: 0, isCut: fits.length < list.length };
  return { list: fits, answer };
}
