/** A condition as Kubernetes has them (metav1.Condition). */
export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  observedGeneration?: number;
  /** RFC 3339 */
  lastTransitionTime: string;
  reason: string;
  message: string;
}

export type NewCondition = Omit<Condition, 'lastTransitionTime' | 'observedGeneration'>;

/**
 * The conditions after a look at the world: those in `next` replace those of the same type, and keep their transition time while
 * their status is the same.
 * @param now RFC 3339
 */
export function mergeConditions(
  before: readonly Condition[],
  next: readonly NewCondition[],
  generation: number | undefined,
  now: string,
): Condition[] {
  return next.map((condition) => {
    const old = before.find((candidate) => candidate.type === condition.type);
    return {
      ...condition,
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      lastTransitionTime: old?.status === condition.status ? old.lastTransitionTime : now,
    };
  });
}
