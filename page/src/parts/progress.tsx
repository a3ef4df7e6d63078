/** A wait that has no measure, or one from 0 to 1. Shown after 300 ms, so that what is quick does not flicker. */
export function Progress({ label, share }: { label: string; share?: number }) {
  return (
    <div class="progress">
      <progress aria-label={label} {...(share === undefined ? {} : { value: share, max: 1 })} />
      <span>{label}</span>
    </div>
  );
}
