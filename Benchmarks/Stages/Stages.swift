import Glibc
import Model
import Vault

/// What each stage between a file and the store costs on one core: `make bench` prints it beside the whole, so that the
/// distance to the limit is visible.
///
/// Input is real: the files given, or programs and libraries of this machine, cut into pieces of 256 KiB.
@main
struct Stages {
    static let pieceLength = 256 * 1024
    static let wanted = 64 << 20

    static func main() throws {
        var paths = Array(CommandLine.arguments.dropFirst())
        if paths.isEmpty { paths = ["/usr/lib/x86_64-linux-gnu", "/usr/bin"] }
        let input = load(paths)
        guard input.count >= pieceLength else {
            print("not enough to read in \(paths)")
            return
        }
        let pieces = input.count / pieceLength
        print("\(input.count >> 20) MiB in pieces of 256 KiB from \(paths.joined(separator: " ")), one core, best of 5")
        input.withUnsafeBytes { bytes in
            run(pieces) { UnsafeRawBufferPointer(rebasing: bytes[($0 * pieceLength)..<(($0 + 1) * pieceLength)]) }
        }
    }

    static func run(_ count: Int, _ piece: (Int) -> UnsafeRawBufferPointer) {
        let total = count * pieceLength
        let deriver = BlobKeyDeriver(convergence: [UInt8](repeating: 7, count: 32), number: 1)
        let keys = (0..<count).map { deriver.contentKey(.data, piece($0)) }
        let ids = keys.map { BlobCrypto.id(of: $0) }

        measure("HMAC-SHA256 (content key)", total) {
            for index in 0..<count { _ = deriver.contentKey(.data, piece(index)) }
        }
        measure("content key to id and sealing key", total) {
            for key in keys {
                _ = BlobCrypto.id(of: key)
                _ = BlobCrypto.sealingKey(of: key)
            }
        }
        measure("XXH3", total) { for index in 0..<count { _ = XXH3.hash(piece(index)) } }
        measure("SHA-256 (name of a pack)", total) { for index in 0..<count { _ = BlobCrypto.sha256(piece(index)) } }
        for compression in [Compression.fast, .better] {
            let compressor = ZstdCompressor(level: compression.level)
            let target = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * pieceLength, alignment: 64)
            var length = 0
            measure("zstd, \(compression)", total) {
                length = 0
                for index in 0..<count { length += compressor.compress(piece(index), into: target) ?? 0 }
            }
            print("    leaves \(100 * length / total) %")
            target.deallocate()
        }
        let cipher = SealingCipher()
        let text = UnsafeMutableRawBufferPointer.allocate(byteCount: pieceLength + 64, alignment: 64)
        text.initializeMemory(as: UInt8.self, repeating: 0)
        let header = [UInt8](repeating: 1, count: 60)
        measure("AES-256-GCM in place", total) {
            for _ in 0..<count {
                header.withUnsafeBytes {
                    try? cipher.seal(
                        key: keys[0].bytes, nonce: $0.baseAddress!, additional: $0,
                        text: UnsafeMutableRawBufferPointer(rebasing: text[..<pieceLength]),
                        tag: text.baseAddress! + pieceLength)
                }
            }
        }
        text.deallocate()

        for compression in Compression.allCases {
            let sealer = BlobSealer(compression: compression)
            var out: [UInt8] = []
            out.reserveCapacity(2 * pieceLength)
            measure("seal, \(compression) (without content key)", total) {
                for index in 0..<count {
                    out.removeAll(keepingCapacity: true)
                    _ = try? sealer.seal(
                        type: .data, key: keys[index], id: ids[index], secretNumber: 1, references: [],
                        plain: piece(index), into: &out)
                }
            }
        }
        var framed: [[UInt8]] = []
        var packed: [PackedBlob] = []
        let sealer = BlobSealer()
        measure("content key, id, seal, fast: the whole of a blob", total) {
            framed = []
            packed = []
            for index in 0..<count {
                let key = deriver.contentKey(.data, piece(index))
                var out: [UInt8] = []
                out.reserveCapacity(pieceLength + 200)
                let blob = try? sealer.seal(
                    type: .data, key: key, id: BlobCrypto.id(of: key), secretNumber: 1, references: [],
                    plain: piece(index), into: &out)
                framed.append(out)
                if let blob { packed.append(blob) }
            }
        }
        let sealedTotal = framed.reduce(0) { $0 + $1.count }
        var buffer: [UInt8] = []
        measure("pack: append, footer, name", sealedTotal) {
            var builder = PackBuilder(
                vault: VaultID(high: 1, low: 1), writer: WriterID(high: 1, low: 1), packClass: .data, buffer: buffer)
            buffer = []
            for (bytes, blob) in zip(framed, packed) where !builder.contains(blob.id) {
                _ = try? builder.append(from: bytes, blob)
                if builder.isFull, let pack = try? builder.finish(reusing: buffer) { buffer = pack.bytes }
            }
        }

        let opener = BlobOpener()
        measure("open", total) {
            for index in 0..<count {
                framed[index].withUnsafeBytes { try? opener.open($0, key: keys[index], expecting: .data) { _ in } }
            }
        }
        measure("open and compare the content key", total) {
            for index in 0..<count {
                framed[index].withUnsafeBytes {
                    try? opener.openVerified($0, key: keys[index], expecting: .data, derivers: [deriver]) { _ in }
                }
            }
        }
    }

    static func measure(_ name: String, _ bytes: Int, _ body: () -> Void) {
        body()
        var best = Double.infinity
        for _ in 0..<5 {
            let start = cpuTime()
            body()
            best = min(best, cpuTime() - start)
        }
        let rate = Double(bytes) / best / 1e6
        let padded = name + String(repeating: " ", count: max(1, 52 - name.count))
        print("\(padded)\(Int(rate)) MB/s   \(Int(best * 1e6 / Double(max(1, bytes / pieceLength)))) us for 256 KiB")
    }

    /// Seconds that this thread computed: what others do on the machine counts less than by the clock on the wall.
    static func cpuTime() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    static func load(_ paths: [String]) -> [UInt8] {
        var input: [UInt8] = []
        input.reserveCapacity(wanted)
        for path in paths { load(path, &input) }
        return input
    }

    private static func load(_ path: String, _ input: inout [UInt8]) {
        var status = stat()
        guard input.count < wanted, lstat(path, &status) == 0 else { return }
        if status.st_mode & S_IFMT == S_IFDIR {
            guard let directory = opendir(path) else { return }
            defer { closedir(directory) }
            var names: [String] = []
            while let entry = readdir(directory) {
                names.append(
                    withUnsafePointer(to: &entry.pointee.d_name) {
                        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                    })
            }
            for name in names.sorted() where name != "." && name != ".." { load("\(path)/\(name)", &input) }
        } else if status.st_mode & S_IFMT == S_IFREG, let file = fopen(path, "r") {
            defer { fclose(file) }
            let room = min(wanted - input.count, Int(status.st_size))
            input.append(addingCapacity: room) { span in
                span.withUnsafeMutableBufferPointer { buffer, count in
                    count = fread(buffer.baseAddress!, 1, room, file)
                }
            }
        }
    }
}
