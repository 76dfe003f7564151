// Normal noise from a seed: the numbers of torch.randn with a torch.Generator on a CPU, so that
// this page and the Python package draw the same slices from the same seed.

const STATE = 624; // words
const CHUNK = 16; // numbers that torch makes at a time

// Mersenne Twister (Matsumoto and Nishimura 1998, doi 10.1145/272991.272995): unsigned 32-bit words.
class MersenneTwister {
  constructor(seed) {
    this.state = new Uint32Array(STATE);
    this.state[0] = seed % 2 ** 32; // torch keeps the lower 32 bits
    for (let i = 1; i < STATE; i++) {
      const last = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, last) + i;
    }
    this.next = STATE;
  }

  renew() {
    const s = this.state;
    for (let i = 0; i < STATE; i++) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % STATE] & 0x7fffffff);
      s[i] = s[(i + 397) % STATE] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }

  word() {
    if (this.next === STATE) this.renew();
    let y = this.state[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  uniform() { // in [0, 1), 24 bits
    return (this.word() & 0xffffff) / 2 ** 24;
  }
}

// Box-Muller transform of 16 uniform numbers from `start` on.
function makeNormal(values, start) {
  const half = CHUNK / 2;
  for (let i = start; i < start + half; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - values[i]));
    const angle = 2 * Math.PI * values[i + half];
    values[i] = radius * Math.cos(angle);
    values[i + half] = radius * Math.sin(angle);
  }
}

// `size` numbers, 16 or more: torch makes fewer in another way.
function normalNoise(seed, size) {
  const twister = new MersenneTwister(seed);
  const values = Float32Array.from({ length: size }, () => twister.uniform());
  for (let start = 0; start + CHUNK <= size; start += CHUNK) makeNormal(values, start);
  if (size % CHUNK) { // the last 16 are drawn again
    for (let i = size - CHUNK; i < size; i++) values[i] = twister.uniform();
    makeNormal(values, size - CHUNK);
  }
  return values;
}

// The seed of image i, as `image_seeds` in oasis_utils/models/sampler.py; exact below 2 ** 53.
function imageSeed(seed, i) {
  return seed * 1000003 + i;
}
