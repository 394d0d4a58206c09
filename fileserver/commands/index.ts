import { Command } from '../../smb/constants.ts';
import type { Handler } from '../session/request.ts';
import { changeNotify } from './change-notify.ts';
import { echo } from './echo.ts';
import { ioctl } from './ioctl.ts';
import { logoff } from './logoff.ts';
import { oplockBreak } from './oplock-break.ts';
import { treeConnect } from './tree-connect.ts';
import { treeDisconnect } from './tree-disconnect.ts';

/** The handler of each command, by its number. NEGOTIATE, SESSION_SETUP and CANCEL are the connection's own. */
export const handlers: Partial<Record<number, Handler>> = {
  [Command.LOGOFF]: logoff,
  [Command.TREE_CONNECT]: treeConnect,
  [Command.TREE_DISCONNECT]: treeDisconnect,
  [Command.IOCTL]: ioctl,
  [Command.ECHO]: echo,
  [Command.CHANGE_NOTIFY]: changeNotify,
  [Command.OPLOCK_BREAK]: oplockBreak,
};
