import { randomBytes } from 'node:crypto';
import { type Span, type TraceRequest, Tracer } from './tracing.ts';

const TRACE_ID = /^[0-9a-f]{32}$/;
const SPAN_ID = /^[0-9a-f]{16}$/;

/** A span that somebody asked for, or nothing at all: whoever does the work need not know which. */
export interface AskedSpan {
  /** To be sent along with what is asked of others on its behalf. */
  readonly request: TraceRequest | undefined;
  event(name: string, attributes?: Record<string, string | number>): void;
  end(attributes?: Record<string, string | number>, failure?: string): void;
}

const NOTHING: AskedSpan = { request: undefined, event: () => undefined, end: () => undefined };

/**
 * Spans that another process asks for: its request says of which trace they are a part and where they go. So tracing is switched on
 * where a migration begins, and nothing has to be started anew.
 */
export class AskedTraces {
  readonly #service: string;
  readonly #instance: string;
  readonly #failed: (error: unknown) => void;
  /** Where spans go of what nobody asks for; undefined: nowhere. */
  collector: string | undefined;
  /** To the collector that was named last. */
  #to: { endpoint: string; tracer: Tracer } | undefined;

  /**
   * @param service the name that traces show
   * @param instance which of its processes this is
   * @param failed told when spans could not be sent; they are lost
   */
  constructor(service: string, instance: string, failed: (error: unknown) => void) {
    this.#service = service;
    this.#instance = instance;
    this.#failed = failed;
  }

  /** Begins a span, where one is asked for in a way that makes sense. */
  start(name: string, request: TraceRequest | undefined): AskedSpan {
    if (!request || !TRACE_ID.test(request.traceId) || !SPAN_ID.test(request.parentSpanId)) return NOTHING;
    const tracer = this.#tracer(request.endpoint);
    if (!tracer) return NOTHING;
    const { traceId, parentSpanId } = request;
    return asked(tracer, tracer.start(name, traceId, { traceId, spanId: parentSpanId }));
  }

  /** Begins a trace of this process' own, where there is a collector for such. */
  begin(name: string): AskedSpan {
    const tracer = this.collector === undefined ? undefined : this.#tracer(this.collector);
    return tracer ? asked(tracer, tracer.start(name, randomBytes(16).toString('hex'))) : NOTHING;
  }

  /** Does something within a span of its own. */
  async during<T>(name: string, request: TraceRequest | undefined, act: () => Promise<T>): Promise<T> {
    const span = this.start(name, request);
    try {
      const result = await act();
      span.end();
      return result;
    } catch (error) {
      span.end({}, String(error));
      throw error;
    }
  }

  /** Sends what waits. */
  async flush(): Promise<void> {
    await this.#to?.tracer.flush();
  }

  #tracer(endpoint: string): Tracer | undefined {
    if (this.#to?.endpoint === endpoint) return this.#to.tracer;
    if (!isHttp(endpoint)) return undefined;
    void this.flush();
    const tracer = new Tracer(this.#service, endpoint, this.#failed, this.#instance);
    this.#to = { endpoint, tracer };
    return tracer;
  }
}

function asked(tracer: Tracer, span: Span): AskedSpan {
  return {
    request: tracer.request(span),
    event: (event, attributes) => span.event(event, attributes),
    end: (attributes, failure) => span.end(attributes, failure),
  };
}

function isHttp(endpoint: string): boolean {
  const url = URL.parse(endpoint);
  return url?.protocol === 'http:' || url?.protocol === 'https:';
}
