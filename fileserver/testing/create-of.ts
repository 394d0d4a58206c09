import { type CreateRequest, encodeCreateRequest } from '../../smb/wire/create.ts';

/** A CREATE's body: opens what is there, to read it, and shares everything, unless `change` says otherwise. */
export function createOf(name: string, change: Partial<CreateRequest> = {}): Buffer {
  return encodeCreateRequest({
    requestedOplockLevel: 0,
    impersonationLevel: 2,
    desiredAccess: 0x12_0089,
    fileAttributes: 0,
    shareAccess: 7,
    createDisposition: 1,
    createOptions: 0,
    name,
    createContexts: [],
    ...change,
  });
}
