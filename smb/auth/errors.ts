/** Why an authentication exchange ended: each names the NTSTATUS that the caller answers with. */
export type AuthErrorCode = 'LOGON_FAILURE' | 'INVALID_PARAMETER' | 'NOT_SUPPORTED';

/** Details of a failed exchange that the server counts and logs; all of them come from the peer and are not to be trusted. */
export interface AuthErrorDetails {
  user?: string;
  domain?: string;
  /** The client asked for an anonymous session; nothing else was wrong with its message. */
  anonymous?: boolean;
}

/** The authentication exchange failed and cannot go on. The message never holds secrets. */
export class AuthError extends Error {
  readonly code: AuthErrorCode;
  readonly user: string | undefined;
  readonly domain: string | undefined;
  readonly anonymous: boolean;

  constructor(code: AuthErrorCode, message: string, details: AuthErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'AuthError';
    this.code = code;
    this.user = details.user;
    this.domain = details.domain;
    this.anonymous = details.anonymous === true;
  }
}
