import type { PodFacts } from './pods.ts';

/** A pod whose slots change, and what it has then. */
export interface SlotChange {
  pod: PodFacts;
  slots: number[];
}

/**
 * Which server each slot's Service leads to (kubernetes.md, "Addresses"). A slot, and so its address, stays with its server while that
 * serves; when it leaves, the slot goes to the one with the fewest slots, of these to the one with most handles: it probably took them over.
 * A server that comes later and has none gets one from who has several. While nobody serves nothing changes.
 * @param count of slots: 0 where there are no Services for single servers
 * @param handles by pod, as far as known
 */
export function planSlots(
  count: number,
  pods: readonly PodFacts[],
  handles: ReadonlyMap<string, number>,
): SlotChange[] {
  const serving = pods.filter((pod) => pod.ready && pod.serving && !pod.terminating);
  // One that leaves serves until its routing is cut; then its successor is ready, and nobody else's address has to move.
  const able = serving.filter((pod) => !pod.leaving);
  if (able.length === 0 && count > 0) return [];
  const next = new Map(able.map((pod): [PodFacts, number[]] => [pod, []]));
  const handlesOf = (pod: PodFacts) => handles.get(pod.name) ?? 0;
  const byFewest = () =>
    [...next].sort(
      ([a, one], [b, two]) => one.length - two.length || handlesOf(b) - handlesOf(a) || (a.name < b.name ? -1 : 1),
    );
  const all = Array.from({ length: count }, (_, slot) => slot);
  const holderOf = (slot: number) => serving.find((pod) => pod.slots.includes(slot));
  const kept = new Map<PodFacts, number[]>();
  for (const slot of all) {
    const holder = holderOf(slot);
    if (!holder) continue;
    const slots = next.get(holder) ?? kept.get(holder) ?? [];
    slots.push(slot);
    if (holder.leaving) kept.set(holder, slots);
  }
  for (const slot of all) if (!holderOf(slot)) byFewest()[0]?.[1].push(slot);
  for (;;) {
    const sorted = byFewest();
    const [least, most] = [sorted[0]?.[1], sorted.at(-1)?.[1]];
    if (!least || !most || most.length - least.length < 2) break;
    least.push(most.pop() as number);
  }
  return pods.flatMap((pod) => {
    const slots = [...(next.get(pod) ?? kept.get(pod) ?? [])].sort((a, b) => a - b);
    return slots.join() === [...pod.slots].sort((a, b) => a - b).join() ? [] : [{ pod, slots }];
  });
}
