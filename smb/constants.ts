// Numbers of MS-SMB2, MS-FSCC and MS-DTYP, by the names they have there. All masks are unsigned 32-bit; test bits with
// `(value & mask) !== 0`, as JavaScript's bit operators give signed results.

/** MS-SMB2 2.2.1 */
export const Command = {
  NEGOTIATE: 0x0000,
  SESSION_SETUP: 0x0001,
  LOGOFF: 0x0002,
  TREE_CONNECT: 0x0003,
  TREE_DISCONNECT: 0x0004,
  CREATE: 0x0005,
  CLOSE: 0x0006,
  FLUSH: 0x0007,
  READ: 0x0008,
  WRITE: 0x0009,
  LOCK: 0x000a,
  IOCTL: 0x000b,
  CANCEL: 0x000c,
  ECHO: 0x000d,
  QUERY_DIRECTORY: 0x000e,
  CHANGE_NOTIFY: 0x000f,
  QUERY_INFO: 0x0010,
  SET_INFO: 0x0011,
  OPLOCK_BREAK: 0x0012,
  SERVER_TO_CLIENT_NOTIFICATION: 0x0013,
} as const;
export type Command = (typeof Command)[keyof typeof Command];

/** MS-SMB2 2.2.1.2 */
export const Flags = {
  SERVER_TO_REDIR: 0x0000_0001,
  ASYNC_COMMAND: 0x0000_0002,
  RELATED_OPERATIONS: 0x0000_0004,
  SIGNED: 0x0000_0008,
  PRIORITY_MASK: 0x0000_0070,
  DFS_OPERATIONS: 0x1000_0000,
  REPLAY_OPERATION: 0x2000_0000,
} as const;
export type Flags = (typeof Flags)[keyof typeof Flags];

/** MS-SMB2 2.2.3 */
export const Dialect = {
  SMB_2_0_2: 0x0202,
  SMB_2_1: 0x0210,
  SMB_3_0: 0x0300,
  SMB_3_0_2: 0x0302,
  SMB_3_1_1: 0x0311,
  /** The answer to an SMB1 negotiate that offers "SMB 2.???" (2.2.4). */
  SMB_2_WILDCARD: 0x02ff,
} as const;
export type Dialect = (typeof Dialect)[keyof typeof Dialect];

/** MS-SMB2 2.2.3, 2.2.4 */
export const SecurityMode = { SIGNING_ENABLED: 0x01, SIGNING_REQUIRED: 0x02 } as const;
export type SecurityMode = (typeof SecurityMode)[keyof typeof SecurityMode];

/** SMB2_GLOBAL_CAP_* (MS-SMB2 2.2.3, 2.2.4) */
export const Capabilities = {
  DFS: 0x0000_0001,
  LEASING: 0x0000_0002,
  LARGE_MTU: 0x0000_0004,
  MULTI_CHANNEL: 0x0000_0008,
  PERSISTENT_HANDLES: 0x0000_0010,
  DIRECTORY_LEASING: 0x0000_0020,
  ENCRYPTION: 0x0000_0040,
  NOTIFICATIONS: 0x0000_0080,
} as const;
export type Capabilities = (typeof Capabilities)[keyof typeof Capabilities];

/** MS-SMB2 2.2.3.1 */
export const NegotiateContextType = {
  PREAUTH_INTEGRITY_CAPABILITIES: 0x0001,
  ENCRYPTION_CAPABILITIES: 0x0002,
  COMPRESSION_CAPABILITIES: 0x0003,
  NETNAME_NEGOTIATE_CONTEXT_ID: 0x0005,
  TRANSPORT_CAPABILITIES: 0x0006,
  RDMA_TRANSFORM_CAPABILITIES: 0x0007,
  SIGNING_CAPABILITIES: 0x0008,
  CONTEXTTYPE_RESERVED: 0x0100,
} as const;
export type NegotiateContextType = (typeof NegotiateContextType)[keyof typeof NegotiateContextType];

/** MS-SMB2 2.2.3.1.1 */
export const HashAlgorithm = { SHA_512: 0x0001 } as const;
export type HashAlgorithm = (typeof HashAlgorithm)[keyof typeof HashAlgorithm];

/** MS-SMB2 2.2.3.1.2 */
export const CipherId = {
  AES_128_CCM: 0x0001,
  AES_128_GCM: 0x0002,
  AES_256_CCM: 0x0003,
  AES_256_GCM: 0x0004,
} as const;
export type CipherId = (typeof CipherId)[keyof typeof CipherId];

/** MS-SMB2 2.2.3.1.3 */
export const CompressionAlgorithm = {
  NONE: 0x0000,
  LZNT1: 0x0001,
  LZ77: 0x0002,
  LZ77_HUFFMAN: 0x0003,
  PATTERN_V1: 0x0004,
  LZ4: 0x0005,
} as const;
export type CompressionAlgorithm = (typeof CompressionAlgorithm)[keyof typeof CompressionAlgorithm];

/** MS-SMB2 2.2.3.1.7 */
export const SigningAlgorithmId = { HMAC_SHA256: 0x0000, AES_CMAC: 0x0001, AES_GMAC: 0x0002 } as const;
export type SigningAlgorithmId = (typeof SigningAlgorithmId)[keyof typeof SigningAlgorithmId];

/** MS-SMB2 2.2.5 */
export const SessionSetupFlags = { BINDING: 0x01 } as const;
export type SessionSetupFlags = (typeof SessionSetupFlags)[keyof typeof SessionSetupFlags];

/** MS-SMB2 2.2.6 */
export const SessionFlags = { IS_GUEST: 0x0001, IS_NULL: 0x0002, ENCRYPT_DATA: 0x0004 } as const;
export type SessionFlags = (typeof SessionFlags)[keyof typeof SessionFlags];

/** MS-SMB2 2.2.9 */
export const TreeConnectFlags = {
  CLUSTER_RECONNECT: 0x0001,
  REDIRECT_TO_OWNER: 0x0002,
  EXTENSION_PRESENT: 0x0004,
} as const;
export type TreeConnectFlags = (typeof TreeConnectFlags)[keyof typeof TreeConnectFlags];

/** MS-SMB2 2.2.10 */
export const ShareType = { DISK: 0x01, PIPE: 0x02, PRINT: 0x03 } as const;
export type ShareType = (typeof ShareType)[keyof typeof ShareType];

/** MS-SMB2 2.2.10 */
export const ShareFlags = {
  MANUAL_CACHING: 0x0000_0000,
  AUTO_CACHING: 0x0000_0010,
  VDO_CACHING: 0x0000_0020,
  NO_CACHING: 0x0000_0030,
  DFS: 0x0000_0001,
  DFS_ROOT: 0x0000_0002,
  RESTRICT_EXCLUSIVE_OPENS: 0x0000_0100,
  FORCE_SHARED_DELETE: 0x0000_0200,
  ALLOW_NAMESPACE_CACHING: 0x0000_0400,
  ACCESS_BASED_DIRECTORY_ENUM: 0x0000_0800,
  FORCE_LEVELII_OPLOCK: 0x0000_1000,
  ENABLE_HASH_V1: 0x0000_2000,
  ENABLE_HASH_V2: 0x0000_4000,
  ENCRYPT_DATA: 0x0000_8000,
  IDENTITY_REMOTING: 0x0004_0000,
  COMPRESS_DATA: 0x0010_0000,
  ISOLATED_TRANSPORT: 0x0020_0000,
} as const;
export type ShareFlags = (typeof ShareFlags)[keyof typeof ShareFlags];

/** SMB2_SHARE_CAP_* (MS-SMB2 2.2.10) */
export const ShareCapabilities = {
  DFS: 0x0000_0008,
  CONTINUOUS_AVAILABILITY: 0x0000_0010,
  SCALEOUT: 0x0000_0020,
  CLUSTER: 0x0000_0040,
  ASYMMETRIC: 0x0000_0080,
  REDIRECT_TO_OWNER: 0x0000_0100,
} as const;
export type ShareCapabilities = (typeof ShareCapabilities)[keyof typeof ShareCapabilities];

/** MS-SMB2 2.2.13 */
export const OplockLevel = { NONE: 0x00, LEVEL_II: 0x01, EXCLUSIVE: 0x08, BATCH: 0x09, LEASE: 0xff } as const;
export type OplockLevel = (typeof OplockLevel)[keyof typeof OplockLevel];

/** MS-SMB2 2.2.13 */
export const ImpersonationLevel = { ANONYMOUS: 0, IDENTIFICATION: 1, IMPERSONATION: 2, DELEGATE: 3 } as const;
export type ImpersonationLevel = (typeof ImpersonationLevel)[keyof typeof ImpersonationLevel];

/** MS-SMB2 2.2.13.1 and MS-DTYP 2.4.3 */
export const FileAccess = {
  READ_DATA: 0x0000_0001,
  WRITE_DATA: 0x0000_0002,
  APPEND_DATA: 0x0000_0004,
  READ_EA: 0x0000_0008,
  WRITE_EA: 0x0000_0010,
  EXECUTE: 0x0000_0020,
  DELETE_CHILD: 0x0000_0040,
  READ_ATTRIBUTES: 0x0000_0080,
  WRITE_ATTRIBUTES: 0x0000_0100,
  DELETE: 0x0001_0000,
  READ_CONTROL: 0x0002_0000,
  WRITE_DAC: 0x0004_0000,
  WRITE_OWNER: 0x0008_0000,
  SYNCHRONIZE: 0x0010_0000,
  ACCESS_SYSTEM_SECURITY: 0x0100_0000,
  MAXIMUM_ALLOWED: 0x0200_0000,
  GENERIC_ALL: 0x1000_0000,
  GENERIC_EXECUTE: 0x2000_0000,
  GENERIC_WRITE: 0x4000_0000,
  GENERIC_READ: 0x8000_0000,
  /** The same bits on a directory. */
  LIST_DIRECTORY: 0x0000_0001,
  ADD_FILE: 0x0000_0002,
  ADD_SUBDIRECTORY: 0x0000_0004,
  TRAVERSE: 0x0000_0020,
  /** All that a file knows: what GENERIC_ALL maps to. */
  ALL_ACCESS: 0x001f_01ff,
  /** What GENERIC_READ, GENERIC_WRITE and GENERIC_EXECUTE map to for files. */
  FILE_GENERIC_READ: 0x0012_0089,
  FILE_GENERIC_WRITE: 0x0012_0116,
  FILE_GENERIC_EXECUTE: 0x0012_00a0,
} as const;
export type FileAccess = (typeof FileAccess)[keyof typeof FileAccess];

/** MS-SMB2 2.2.13 */
export const ShareAccess = { READ: 0x0000_0001, WRITE: 0x0000_0002, DELETE: 0x0000_0004 } as const;
export type ShareAccess = (typeof ShareAccess)[keyof typeof ShareAccess];

/** MS-SMB2 2.2.13 */
export const CreateDisposition = {
  SUPERSEDE: 0,
  OPEN: 1,
  CREATE: 2,
  OPEN_IF: 3,
  OVERWRITE: 4,
  OVERWRITE_IF: 5,
} as const;
export type CreateDisposition = (typeof CreateDisposition)[keyof typeof CreateDisposition];

/** MS-SMB2 2.2.13 */
export const CreateOptions = {
  DIRECTORY_FILE: 0x0000_0001,
  WRITE_THROUGH: 0x0000_0002,
  SEQUENTIAL_ONLY: 0x0000_0004,
  NO_INTERMEDIATE_BUFFERING: 0x0000_0008,
  SYNCHRONOUS_IO_ALERT: 0x0000_0010,
  SYNCHRONOUS_IO_NONALERT: 0x0000_0020,
  NON_DIRECTORY_FILE: 0x0000_0040,
  COMPLETE_IF_OPLOCKED: 0x0000_0100,
  NO_EA_KNOWLEDGE: 0x0000_0200,
  OPEN_REMOTE_INSTANCE: 0x0000_0400,
  RANDOM_ACCESS: 0x0000_0800,
  DELETE_ON_CLOSE: 0x0000_1000,
  OPEN_BY_FILE_ID: 0x0000_2000,
  OPEN_FOR_BACKUP_INTENT: 0x0000_4000,
  NO_COMPRESSION: 0x0000_8000,
  OPEN_REQUIRING_OPLOCK: 0x0001_0000,
  DISALLOW_EXCLUSIVE: 0x0002_0000,
  RESERVE_OPFILTER: 0x0010_0000,
  OPEN_REPARSE_POINT: 0x0020_0000,
  OPEN_NO_RECALL: 0x0040_0000,
  OPEN_FOR_FREE_SPACE_QUERY: 0x0080_0000,
} as const;
export type CreateOptions = (typeof CreateOptions)[keyof typeof CreateOptions];

/** MS-SMB2 2.2.14 */
export const CreateAction = { SUPERSEDED: 0, OPENED: 1, CREATED: 2, OVERWRITTEN: 3 } as const;
export type CreateAction = (typeof CreateAction)[keyof typeof CreateAction];

/** MS-SMB2 2.2.14 */
export const CreateResponseFlags = { REPARSEPOINT: 0x01 } as const;
export type CreateResponseFlags = (typeof CreateResponseFlags)[keyof typeof CreateResponseFlags];

/** MS-FSCC 2.6 */
export const FileAttributes = {
  READONLY: 0x0000_0001,
  HIDDEN: 0x0000_0002,
  SYSTEM: 0x0000_0004,
  DIRECTORY: 0x0000_0010,
  ARCHIVE: 0x0000_0020,
  NORMAL: 0x0000_0080,
  TEMPORARY: 0x0000_0100,
  SPARSE_FILE: 0x0000_0200,
  REPARSE_POINT: 0x0000_0400,
  COMPRESSED: 0x0000_0800,
  OFFLINE: 0x0000_1000,
  NOT_CONTENT_INDEXED: 0x0000_2000,
  ENCRYPTED: 0x0000_4000,
  INTEGRITY_STREAM: 0x0000_8000,
  NO_SCRUB_DATA: 0x0002_0000,
  RECALL_ON_OPEN: 0x0004_0000,
  PINNED: 0x0008_0000,
  UNPINNED: 0x0010_0000,
  RECALL_ON_DATA_ACCESS: 0x0040_0000,
} as const;
export type FileAttributes = (typeof FileAttributes)[keyof typeof FileAttributes];

/** MS-SMB2 2.2.13.2.8 */
export const LeaseState = { NONE: 0x00, READ_CACHING: 0x01, HANDLE_CACHING: 0x02, WRITE_CACHING: 0x04 } as const;
export type LeaseState = (typeof LeaseState)[keyof typeof LeaseState];

/** MS-SMB2 2.2.13.2.10, 2.2.14.2.11 */
export const LeaseFlags = { BREAK_IN_PROGRESS: 0x0000_0002, PARENT_LEASE_KEY_SET: 0x0000_0004 } as const;
export type LeaseFlags = (typeof LeaseFlags)[keyof typeof LeaseFlags];

/** MS-SMB2 2.2.23.2 */
export const LeaseBreakFlags = { ACK_REQUIRED: 0x0000_0001 } as const;
export type LeaseBreakFlags = (typeof LeaseBreakFlags)[keyof typeof LeaseBreakFlags];

/** MS-SMB2 2.2.13.2.11, 2.2.13.2.12 */
export const DurableFlags = { PERSISTENT: 0x0000_0002 } as const;
export type DurableFlags = (typeof DurableFlags)[keyof typeof DurableFlags];

/** MS-SMB2 2.2.15 */
export const CloseFlags = { POSTQUERY_ATTRIB: 0x0001 } as const;
export type CloseFlags = (typeof CloseFlags)[keyof typeof CloseFlags];

/** MS-SMB2 2.2.19 */
export const ReadFlags = { UNBUFFERED: 0x01, REQUEST_COMPRESSED: 0x02 } as const;
export type ReadFlags = (typeof ReadFlags)[keyof typeof ReadFlags];

/** MS-SMB2 2.2.21 */
export const WriteFlags = { WRITE_THROUGH: 0x0000_0001, UNBUFFERED: 0x0000_0002 } as const;
export type WriteFlags = (typeof WriteFlags)[keyof typeof WriteFlags];

/** Channel of READ, WRITE (MS-SMB2 2.2.19) */
export const Channel = { NONE: 0, RDMA_V1: 1, RDMA_V1_INVALIDATE: 2, RDMA_TRANSFORM: 3 } as const;
export type Channel = (typeof Channel)[keyof typeof Channel];

/** MS-SMB2 2.2.26.1 */
export const LockFlags = {
  SHARED_LOCK: 0x0000_0001,
  EXCLUSIVE_LOCK: 0x0000_0002,
  UNLOCK: 0x0000_0004,
  FAIL_IMMEDIATELY: 0x0000_0010,
} as const;
export type LockFlags = (typeof LockFlags)[keyof typeof LockFlags];

/** MS-SMB2 2.2.31 */
export const IoctlFlags = { IS_IOCTL: 0x0000_0000, IS_FSCTL: 0x0000_0001 } as const;
export type IoctlFlags = (typeof IoctlFlags)[keyof typeof IoctlFlags];

/** FSCTL_* (MS-SMB2 2.2.31, MS-FSCC 2.3) */
export const Fsctl = {
  REQUEST_OPLOCK: 0x0009_0240,
  LOCK_VOLUME: 0x0009_0018,
  UNLOCK_VOLUME: 0x0009_001c,
  IS_PATHNAME_VALID: 0x0009_002c,
  GET_COMPRESSION: 0x0009_003c,
  SET_COMPRESSION: 0x0009_c040,
  FILESYSTEM_GET_STATISTICS: 0x0009_0060,
  GET_NTFS_VOLUME_DATA: 0x0009_0064,
  GET_RETRIEVAL_POINTERS: 0x0009_0073,
  FIND_FILES_BY_SID: 0x0009_008f,
  SET_OBJECT_ID: 0x0009_0098,
  GET_OBJECT_ID: 0x0009_009c,
  DELETE_OBJECT_ID: 0x0009_00a0,
  SET_REPARSE_POINT: 0x0009_00a4,
  GET_REPARSE_POINT: 0x0009_00a8,
  DELETE_REPARSE_POINT: 0x0009_00ac,
  SET_OBJECT_ID_EXTENDED: 0x0009_00bc,
  CREATE_OR_GET_OBJECT_ID: 0x0009_00c0,
  SET_SPARSE: 0x0009_00c4,
  SET_ZERO_DATA: 0x0009_80c8,
  QUERY_ALLOCATED_RANGES: 0x0009_40cf,
  SET_ENCRYPTION: 0x0009_00d7,
  READ_FILE_USN_DATA: 0x0009_00eb,
  WRITE_USN_CLOSE_RECORD: 0x0009_00ef,
  SIS_COPYFILE: 0x0009_0100,
  RECALL_FILE: 0x0009_0117,
  QUERY_SPARING_INFO: 0x0009_0138,
  SET_ZERO_ON_DEALLOCATION: 0x0009_0194,
  SET_SHORT_NAME_BEHAVIOR: 0x0009_01b4,
  QUERY_ON_DISK_VOLUME_INFO: 0x0009_013c,
  SET_DEFECT_MANAGEMENT: 0x0009_8134,
  FILE_LEVEL_TRIM: 0x0009_8208,
  OFFLOAD_READ: 0x0009_4264,
  OFFLOAD_WRITE: 0x0009_8268,
  GET_INTEGRITY_INFORMATION: 0x0009_027c,
  SET_INTEGRITY_INFORMATION: 0x0009_c280,
  SET_INTEGRITY_INFORMATION_EX: 0x0009_0380,
  QUERY_FILE_REGIONS: 0x0009_0284,
  DUPLICATE_EXTENTS_TO_FILE: 0x0009_8344,
  DUPLICATE_EXTENTS_TO_FILE_EX: 0x0009_83e8,
  REFS_STREAM_SNAPSHOT_MANAGEMENT: 0x0009_0440,
  MARK_HANDLE: 0x0009_00fc,
  QUERY_REGION_INFO: 0x0009_0284,
  DFS_GET_REFERRALS: 0x0006_0194,
  DFS_GET_REFERRALS_EX: 0x0006_01b0,
  PIPE_PEEK: 0x0011_400c,
  PIPE_WAIT: 0x0011_0018,
  PIPE_TRANSCEIVE: 0x0011_c017,
  SRV_REQUEST_RESUME_KEY: 0x0014_0078,
  SRV_ENUMERATE_SNAPSHOTS: 0x0014_4064,
  SRV_COPYCHUNK: 0x0014_40f2,
  SRV_COPYCHUNK_WRITE: 0x0014_80f2,
  SRV_READ_HASH: 0x0014_41bb,
  LMR_REQUEST_RESILIENCY: 0x0014_01d4,
  LMR_GET_LINK_TRACKING_INFORMATION: 0x0014_00e8,
  LMR_SET_LINK_TRACKING_INFORMATION: 0x0014_00ec,
  VALIDATE_NEGOTIATE_INFO: 0x0014_0204,
  QUERY_NETWORK_INTERFACE_INFO: 0x0014_01fc,
  SVHDX_SYNC_TUNNEL_REQUEST: 0x0009_0304,
  QUERY_SHARED_VIRTUAL_DISK_SUPPORT: 0x0009_0300,
} as const;
export type Fsctl = (typeof Fsctl)[keyof typeof Fsctl];

/** FileId of requests that are not about an open: IOCTL of a session (MS-SMB2 2.2.31), related compounds (3.3.5.2.7.2). */
export const ALL_ONES_FILE_ID = { persistent: 0xffff_ffff_ffff_ffffn, volatile: 0xffff_ffff_ffff_ffffn } as const;

/** MS-SMB2 2.2.32.5 */
export const NetworkInterfaceCapability = { RSS_CAPABLE: 0x0000_0001, RDMA_CAPABLE: 0x0000_0002 } as const;
export type NetworkInterfaceCapability = (typeof NetworkInterfaceCapability)[keyof typeof NetworkInterfaceCapability];

/** MS-SMB2 2.2.33 */
export const QueryDirectoryFlags = {
  RESTART_SCANS: 0x01,
  RETURN_SINGLE_ENTRY: 0x02,
  INDEX_SPECIFIED: 0x04,
  REOPEN: 0x10,
} as const;
export type QueryDirectoryFlags = (typeof QueryDirectoryFlags)[keyof typeof QueryDirectoryFlags];

/** MS-SMB2 2.2.35 */
export const ChangeNotifyFlags = { WATCH_TREE: 0x0001 } as const;
export type ChangeNotifyFlags = (typeof ChangeNotifyFlags)[keyof typeof ChangeNotifyFlags];

/** MS-SMB2 2.2.35 */
export const CompletionFilter = {
  FILE_NAME: 0x0000_0001,
  DIR_NAME: 0x0000_0002,
  ATTRIBUTES: 0x0000_0004,
  SIZE: 0x0000_0008,
  LAST_WRITE: 0x0000_0010,
  LAST_ACCESS: 0x0000_0020,
  CREATION: 0x0000_0040,
  EA: 0x0000_0080,
  SECURITY: 0x0000_0100,
  STREAM_NAME: 0x0000_0200,
  STREAM_SIZE: 0x0000_0400,
  STREAM_WRITE: 0x0000_0800,
} as const;
export type CompletionFilter = (typeof CompletionFilter)[keyof typeof CompletionFilter];

/** FILE_ACTION_* (MS-FSCC 2.7.1) */
export const FileAction = {
  ADDED: 1,
  REMOVED: 2,
  MODIFIED: 3,
  RENAMED_OLD_NAME: 4,
  RENAMED_NEW_NAME: 5,
  ADDED_STREAM: 6,
  REMOVED_STREAM: 7,
  MODIFIED_STREAM: 8,
} as const;
export type FileAction = (typeof FileAction)[keyof typeof FileAction];

/** MS-SMB2 2.2.37 */
export const InfoType = { FILE: 0x01, FILESYSTEM: 0x02, SECURITY: 0x03, QUOTA: 0x04 } as const;
export type InfoType = (typeof InfoType)[keyof typeof InfoType];

/** AdditionalInformation of security queries (MS-SMB2 2.2.37, MS-DTYP 2.4.7) */
export const SecurityInformation = {
  OWNER: 0x0000_0001,
  GROUP: 0x0000_0002,
  DACL: 0x0000_0004,
  SACL: 0x0000_0008,
  LABEL: 0x0000_0010,
  ATTRIBUTE: 0x0000_0020,
  SCOPE: 0x0000_0040,
  BACKUP: 0x0001_0000,
} as const;
export type SecurityInformation = (typeof SecurityInformation)[keyof typeof SecurityInformation];

/** Flags of QUERY_INFO for extended attributes (MS-SMB2 2.2.37) */
export const QueryInfoFlags = {
  RESTART_SCAN: 0x0000_0001,
  RETURN_SINGLE_ENTRY: 0x0000_0002,
  INDEX_SPECIFIED: 0x0000_0004,
} as const;
export type QueryInfoFlags = (typeof QueryInfoFlags)[keyof typeof QueryInfoFlags];

/** MS-SMB2 2.2.2.1 */
export const ErrorId = { DEFAULT: 0x0000_0000, SHARE_REDIRECT: 0x7264_5253 } as const;
export type ErrorId = (typeof ErrorId)[keyof typeof ErrorId];

/** Reparse tags (MS-FSCC 2.1.2.1) that file servers meet. */
export const ReparseTag = { MOUNT_POINT: 0xa000_0003, SYMLINK: 0xa000_000c, NFS: 0x8000_0014 } as const;
export type ReparseTag = (typeof ReparseTag)[keyof typeof ReparseTag];
