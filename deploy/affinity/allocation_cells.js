// The cell of a request, from its header Allocation-Routing-Key. docs/cells.md has the rule.

// The 32 bits of MurmurHash 2 with the seed of Kafka's default partitioner, as in app/service_layer/cells.py.
function murmur2(bytes) {
    const factor = 0x5bd1e995;
    const whole = bytes.length & ~3;
    let number = 0x9747b28c ^ bytes.length;
    for (let start = 0; start < whole; start += 4) {
        let part = Math.imul(bytes.readInt32LE(start), factor);
        part ^= part >>> 24;
        number = Math.imul(number, factor) ^ Math.imul(part, factor);
    }
    if (whole < bytes.length) {
        for (let place = whole; place < bytes.length; place++) {
            number ^= bytes[place] << (8 * (place - whole));
        }
        number = Math.imul(number, factor);
    }
    number = Math.imul(number ^ (number >>> 13), factor);
    return number ^ (number >>> 15);
}

// The number of the cell as text, empty without the header.
function of(request) {
    const key = request.headersIn['Allocation-Routing-Key'];
    if (!key) {
        return '';
    }
    return String((murmur2(Buffer.from(key)) & 0x7fffffff) % Number(request.variables.allocation_cells));
}

export default {of};
