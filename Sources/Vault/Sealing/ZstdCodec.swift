import CZstd
import Model

/// How hard plaintexts are compressed.
package enum Compression: String, Sendable, CaseIterable {
    /// Stored as they are.
    case none
    /// zstd level 1: about 0.5 GB/s on a core.
    case fast
    /// zstd level 5: smaller, about a third of the speed.
    case better

    /// The level of zstd.
    package var level: Int32 {
        switch self {
        case .none: 0
        case .fast: 1
        case .better: 5
        }
    }
}

/// Compresses with one reused context.
package final class ZstdCompressor {
    private let context: OpaquePointer
    private let level: Int32

    package init(level: Int32) {
        guard let context = ZSTD_createCCtx() else { preconditionFailure("no memory for a compression context") }
        self.context = context
        self.level = level
    }

    deinit { ZSTD_freeCCtx(context) }

    /// Writes one frame to `target` and answers its length; `nil` when it does not fit.
    package func compress(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) -> Int? {
        let length = ZSTD_compressCCtx(
            context, target.baseAddress, target.count, source.baseAddress, source.count, level)
        return ZSTD_isError(length) == 0 ? length : nil
    }
}

/// Decompresses with one reused context.
final class ZstdDecompressor {
    private let context: OpaquePointer

    init() {
        guard let context = ZSTD_createDCtx() else { preconditionFailure("no memory for a decompression context") }
        self.context = context
    }

    deinit { ZSTD_freeDCtx(context) }

    /// Expands exactly one frame that fills `target` exactly; anything else throws `damaged`.
    func decompress(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) throws {
        guard ZSTD_findFrameCompressedSize(source.baseAddress, source.count) == source.count else {
            throw HoldfastError(.damaged, "malformed data: not one compressed frame")
        }
        let length = ZSTD_decompressDCtx(
            context, target.baseAddress, target.count, source.baseAddress, source.count)
        guard ZSTD_isError(length) == 0, length == target.count else {
            throw HoldfastError(.damaged, "malformed data: the compressed frame does not expand to its length")
        }
    }
}
