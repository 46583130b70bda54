import CZstd
import Model

/// Compresses a stream of any length as one zstd frame with a checksum, in constant memory.
package final class ZstdStream {
    private let context: OpaquePointer
    private var buffer: [UInt8]
    private let output: (UnsafeRawBufferPointer) throws -> Void

    /// - Parameters:
    ///   - level: of zstd; 3 takes about 4 MiB and keeps up with a fast network.
    ///   - output: gets the compressed bytes piece by piece, valid during the call.
    package init(level: Int32 = 3, _ output: @escaping (UnsafeRawBufferPointer) throws -> Void) throws {
        guard let context = ZSTD_createCCtx() else { throw ZstdStream.failure("no memory for it") }
        self.context = context
        self.output = output
        buffer = [UInt8](repeating: 0, count: ZSTD_CStreamOutSize())
        try check(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level))
        try check(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1))
    }

    deinit { ZSTD_freeCCtx(context) }

    package func write(_ bytes: UnsafeRawBufferPointer) throws {
        var input = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
        while input.pos < input.size { _ = try step(&input, ZSTD_e_continue) }
    }

    /// Ends the frame. Nothing can be written afterwards.
    package func finish() throws {
        var input = ZSTD_inBuffer(src: nil, size: 0, pos: 0)
        while try step(&input, ZSTD_e_end) > 0 {}
    }

    /// Answers what is still to be flushed, at least.
    private func step(_ input: inout ZSTD_inBuffer, _ end: ZSTD_EndDirective) throws -> Int {
        let (left, count) = try buffer.withUnsafeMutableBytes { bytes in
            var room = ZSTD_outBuffer(dst: bytes.baseAddress, size: bytes.count, pos: 0)
            let left = ZSTD_compressStream2(context, &room, &input, end)
            try check(left)
            return (left, room.pos)
        }
        if count > 0 { try buffer.withUnsafeBytes { try output(UnsafeRawBufferPointer(rebasing: $0[..<count])) } }
        return left
    }

    private func check(_ code: Int) throws {
        if ZSTD_isError(code) != 0 { throw ZstdStream.failure(String(cString: ZSTD_getErrorName(code))) }
    }

    private static func failure(_ what: String) -> HoldfastError {
        HoldfastError(.io, "compressing failed: \(what)")
    }
}
