import { connect as connectTcp, type Socket } from 'node:net';
import { FRAME_PREFIX_SIZE, writeFramePrefix } from '../../smb/wire/framing.ts';
import { abortedError, SmbError } from '../errors.ts';
import { addressText, type ServerAddress } from './address.ts';
import { MAX_FRAME_BYTES, MAX_FRAME_BYTES_BEFORE_SESSION, RECEIVE_CHUNK_BYTES, TCP_KEEPALIVE_MS } from './constants.ts';
import { FrameReceiver } from './frame-receiver.ts';

/** Direct TCP: whole SMB2 messages out of and into a socket. */
export class Transport {
  readonly address: ServerAddress;
  readonly #socket: Socket;
  readonly #frames: FrameReceiver;
  #onFrame: (message: Buffer) => void = () => undefined;
  #onClose: (reason: SmbError) => void = () => undefined;
  #closed: SmbError | undefined;
  #corked = false;
  /** CLOCK_MONOTONIC milliseconds at which bytes last arrived. */
  lastReceivedMs = performance.now();

  private constructor(address: ServerAddress) {
    this.address = address;
    this.#frames = new FrameReceiver(RECEIVE_CHUNK_BYTES, MAX_FRAME_BYTES_BEFORE_SESSION);
    this.#socket = connectTcp({
      host: address.host,
      port: address.port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEPALIVE_MS,
      onread: {
        buffer: () => this.#frames.space(),
        callback: (size: number) => {
          this.#received(size);
          return true;
        },
      },
    });
    this.#socket.on('error', (error) => this.#fail(error.message, error));
    this.#socket.on('end', () => this.#fail('the server closed it'));
    this.#socket.on('close', () => this.#fail('it was closed'));
  }

  /** Connects. Throws SmbError CONNECTION_LOST, or what the signal says; nothing stays open then. */
  static connect(address: ServerAddress, signal: AbortSignal): Promise<Transport> {
    if (signal.aborted) return Promise.reject(abortedError(signal, `connecting to ${addressText(address)}`));
    const transport = new Transport(address);
    return new Promise((resolve, reject) => {
      const settled = () => signal.removeEventListener('abort', onAbort);
      const onAbort = () => {
        transport.destroy(abortedError(signal, `connecting to ${addressText(address)}`));
      };
      signal.addEventListener('abort', onAbort, { once: true });
      transport.#onClose = (reason) => {
        settled();
        reject(reason);
      };
      transport.#socket.once('connect', () => {
        settled();
        transport.#onClose = () => undefined;
        resolve(transport);
      });
    });
  }

  /**
   * Sets who gets the messages and the end. The views handed out stay valid: the memory behind them is not used again.
   * An end that came before is reported at once.
   */
  listen(onFrame: (message: Buffer) => void, onClose: (reason: SmbError) => void): void {
    this.#onFrame = onFrame;
    this.#onClose = onClose;
    if (this.#closed) onClose(this.#closed);
  }

  /** From now on messages may be as large as reads are. */
  allowLargeFrames(): void {
    this.#frames.maxFrameBytes = MAX_FRAME_BYTES;
  }

  get closed(): SmbError | undefined {
    return this.#closed;
  }

  /**
   * Sends one frame that is laid out already: FRAME_PREFIX_SIZE that this fills in, then the message. `tail`, if given,
   * is the rest of the message. What is sent in one turn of the event loop leaves in one system call.
   */
  sendFrame(frame: Buffer, tail?: Buffer): void {
    if (this.#closed) return;
    const size = frame.length - FRAME_PREFIX_SIZE + (tail?.length ?? 0);
    writeFramePrefix(frame, 0, size);
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      // After the microtasks of this turn, in which answered callers send their next request.
      setImmediate(this.#uncork);
    }
    this.#socket.write(frame);
    if (tail && tail.length > 0) this.#socket.write(tail);
  }

  readonly #uncork = () => {
    this.#corked = false;
    this.#socket.uncork();
  };

  /** Closes at once. The listener hears `reason`. */
  destroy(
    reason: SmbError = new SmbError('CONNECTION_LOST', `connection to ${addressText(this.address)}: closed here`),
  ): void {
    this.#end(reason);
  }

  #received(size: number): void {
    if (this.#closed) return;
    this.lastReceivedMs = performance.now();
    try {
      this.#frames.received(size, this.#onFrame);
    } catch (error) {
      this.#end(
        new SmbError('PROTOCOL_VIOLATION', `connection to ${addressText(this.address)}: ${(error as Error).message}`, {
          cause: error,
        }),
      );
    }
  }

  #fail(why: string, cause?: unknown): void {
    this.#end(new SmbError('CONNECTION_LOST', `connection to ${addressText(this.address)}: ${why}`, { cause }));
  }

  #end(reason: SmbError): void {
    if (this.#closed) return;
    this.#closed = reason;
    this.#socket.destroy();
    this.#onClose(reason);
  }
}
