// CHANGE_NOTIFY (MS-SMB2 3.3.5.19).
import { ChangeNotifyFlags } from '../../smb/constants.ts';
import { Access } from '../../smb/security/access-mask.ts';
import { Status } from '../../smb/status.ts';
import {
  type ChangeNotifyRequest,
  decodeChangeNotifyRequest,
  encodeChangeNotifyResponse,
} from '../../smb/wire/change-notify.ts';
import type { Notified, Waiting, Watch } from '../notify/watch.ts';
import type { OpenFile } from '../opens/open-file.ts';
import { type Reply, type Request, reply, statusReply } from '../session/request.ts';
import { onVolume, openOf } from './open-of.ts';

export const changeNotify = onVolume((request: Request): Reply | Promise<Reply> => {
  const wanted = decodeChangeNotifyRequest(request.message);
  const open = openOf(request, wanted.fileId);
  if (open === undefined) return statusReply(Status.FILE_CLOSED);
  const { outputBufferLength } = wanted;
  if (outputBufferLength > request.connection.maxTransactSize || !request.paysFor(outputBufferLength)) {
    return statusReply(Status.INVALID_PARAMETER);
  }
  if (!open.isDirectory) return statusReply(Status.INVALID_PARAMETER);
  if (!open.may(Access.readData)) return statusReply(Status.ACCESS_DENIED);
  if (open.file.deletePending) return statusReply(Status.DELETE_PENDING);
  const watch = request.services.changes.watchOf(open);
  const kept = watch?.collect(outputBufferLength);
  return kept ? answer(kept) : wait(request, open, wanted, watch);
});

/**
 * The watch of an open begins with its first request, and resolves when every server tells of its changes. That the directory is to be
 * deleted was decided before that, or is told.
 */
async function begin(
  request: Request,
  open: OpenFile,
  { flags, completionFilter, outputBufferLength }: ChangeNotifyRequest,
): Promise<Watch> {
  const { changes, handles } = request.services;
  const watch = await changes.watch(open, request.tree.share, {
    recursive: (flags & ChangeNotifyFlags.WATCH_TREE) !== 0,
    filter: completionFilter,
    capacity: outputBufferLength,
  });
  const { value: state } = await handles.lockedFiles({ fileId: open.record.fileId });
  if (state?.deletePending) watch.end(Status.DELETE_PENDING);
  return watch;
}

/** Waits until something happens, the client gives up, or the open ends. */
async function wait(
  request: Request,
  open: OpenFile,
  wanted: ChangeNotifyRequest,
  known: Watch | undefined,
): Promise<Reply> {
  const { outputBufferLength } = wanted;
  const watch = known ?? (await begin(request, open, wanted));
  const kept = watch.collect(outputBufferLength);
  if (kept) return answer(kept);
  const { signal } = request;
  return new Promise((resolve) => {
    const waiting: Waiting = {
      outputBufferLength,
      answer: (notified) => {
        signal.removeEventListener('abort', giveUp);
        resolve(answer(notified));
      },
    };
    const giveUp = () => {
      watch.leave(waiting);
      // The end of a session ends what waits on its opens (3.3.5.6); anything else that ends a request is its CANCEL.
      const isOver = request.session.state === 'Ended';
      resolve(statusReply(isOver ? Status.NOTIFY_CLEANUP : Status.CANCELLED));
    };
    if (signal.aborted) {
      giveUp();
      return;
    }
    signal.addEventListener('abort', giveUp, { once: true });
    watch.wait(waiting);
    request.goAsync();
  });
}

function answer({ status, output }: Notified): Reply {
  if (status === Status.DELETE_PENDING) return statusReply(status);
  return reply(encodeChangeNotifyResponse({ output }), status);
}
