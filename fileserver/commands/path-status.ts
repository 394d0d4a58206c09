import { Status } from '../../smb/status.ts';
import type { PathProblem } from '../volume/names.ts';

/** What is answered to a path that cannot be one. */
export function statusOfPathProblem(problem: PathProblem): number {
  switch (problem) {
    case 'absolute':
      return Status.INVALID_PARAMETER;
    case 'leaves-share':
      return Status.OBJECT_PATH_SYNTAX_BAD;
    default:
      return Status.OBJECT_NAME_INVALID;
  }
}
