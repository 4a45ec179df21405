// A ZIP archive without compression: pictures are compressed already.
// The format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3 and 4.4.

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

// Updates a checksum of the kind CRC-32; the first `crc` is 0.
export function crc32(crc, bytes) {
  let value = ~crc;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

// The format has 32 bits for sizes and 16 for the number of files; larger archives need ZIP64.
export const MAX_ZIP_BYTES = 0xf0000000;
export const MAX_ZIP_FILES = 0xfff0;

const encoder = new TextEncoder();

function littleEndian(...fields) {
  const bytes = new Uint8Array(fields.reduce((sum, [size]) => sum + size, 0));
  let at = 0;
  for (const [size, value] of fields) for (let byte = 0; byte < size; byte++) bytes[at++] = Math.floor(value / 2 ** (8 * byte)) & 255;
  return bytes;
}

function dosTime(time) {
  const year = Math.max(1980, time.getFullYear());
  return [[2, (time.getHours() << 11) | (time.getMinutes() << 5) | (time.getSeconds() >> 1)],
    [2, ((year - 1980) << 9) | ((time.getMonth() + 1) << 5) | time.getDate()]];
}

// Collects files as parts of a Blob, which the browser may keep on disk.
export class ZipArchive {
  #parts = [];
  #directory = [];
  #offset = 0;

  get files() {
    return this.#directory.length / 2;
  }

  get bytes() {
    return this.#offset;
  }

  // `chunks` are the file's bytes, `crc` their checksum.
  addFile(path, time, chunks, size, crc) {
    const name = encoder.encode(path);
    // Version 2.0; names are UTF-8 (bit 11); stored without compression (0).
    const common = [[2, 20], [2, 0x800], [2, 0], ...dosTime(time), [4, crc], [4, size], [4, size], [2, name.length], [2, 0]];
    this.#directory.push(littleEndian([4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, this.#offset]), name);
    const header = littleEndian([4, 0x04034b50], ...common);
    this.#parts.push(header, name, new Blob(chunks));
    this.#offset += header.length + name.length + size;
  }

  finish() {
    const directoryBytes = this.#directory.reduce((sum, part) => sum + part.length, 0);
    const files = this.files;
    const end = littleEndian([4, 0x06054b50], [2, 0], [2, 0], [2, files], [2, files], [4, directoryBytes], [4, this.#offset], [2, 0]);
    return new Blob([...this.#parts, ...this.#directory, end], { type: "application/zip" });
  }
}
