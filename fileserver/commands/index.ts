import { Command } from '../../smb/constants.ts';
import type { Handler } from '../session/request.ts';
import { changeNotify } from './change-notify.ts';
import { close } from './close.ts';
import { create } from './create.ts';
import { echo } from './echo.ts';
import { flush } from './flush.ts';
import { ioctl } from './ioctl.ts';
import { lock } from './lock.ts';
import { logoff } from './logoff.ts';
import { oplockBreak } from './oplock-break.ts';
import { queryDirectory } from './query-directory.ts';
import { queryInfo } from './query-info.ts';
import { read } from './read.ts';
import { setInfo } from './set-info.ts';
import { treeConnect } from './tree-connect.ts';
import { treeDisconnect } from './tree-disconnect.ts';
import { write } from './write.ts';

/** The handler of each command, by its number. NEGOTIATE, SESSION_SETUP and CANCEL are the connection's own. */
export const handlers: Partial<Record<number, Handler>> = {
  [Command.LOGOFF]: logoff,
  [Command.TREE_CONNECT]: treeConnect,
  [Command.TREE_DISCONNECT]: treeDisconnect,
  [Command.CREATE]: create,
  [Command.CLOSE]: close,
  [Command.FLUSH]: flush,
  [Command.READ]: read,
  [Command.WRITE]: write,
  [Command.LOCK]: lock,
  [Command.IOCTL]: ioctl,
  [Command.ECHO]: echo,
  [Command.QUERY_DIRECTORY]: queryDirectory,
  [Command.CHANGE_NOTIFY]: changeNotify,
  [Command.QUERY_INFO]: queryInfo,
  [Command.SET_INFO]: setInfo,
  [Command.OPLOCK_BREAK]: oplockBreak,
};
