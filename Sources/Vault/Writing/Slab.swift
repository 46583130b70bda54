import Platform

/// A reused piece of memory that plaintext is read into; blobs are sealed straight from it.
///
/// A slab goes back to its pool when the last reference to it goes, so holding a slab is what bounds memory.
package final class Slab: @unchecked Sendable {
    // Sound: one reader thread fills it before it hands ranges to others, who only read.
    package let base: UnsafeMutableRawPointer
    package let capacity: Int
    private let pool: SlabPool?

    fileprivate init(base: UnsafeMutableRawPointer, capacity: Int, pool: SlabPool) {
        self.base = base
        self.capacity = capacity
        self.pool = pool
    }

    /// A slab of its own, outside any pool.
    package init(capacity: Int) {
        base = .allocate(byteCount: capacity, alignment: 64)
        self.capacity = capacity
        pool = nil
    }

    deinit {
        if let pool { pool.giveBack(base) } else { base.deallocate() }
    }

    /// The bytes of a range of the slab.
    package func bytes(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count)
    }
}

/// A bounded number of slabs. Taking one waits until one is free, which is how sealing slows down reading.
package final class SlabPool: Sendable {
    private struct State {
        var free: [UnsafeMutableRawPointer] = []
        var made = 0
        var failed = false
    }

    private enum Outcome {
        case slab(UnsafeMutableRawPointer)
        case failed
    }

    private let state = Monitor(State())
    private let limit: Int
    /// Bytes of one slab.
    package let slabSize: Int

    /// - Parameters:
    ///   - slabSize: bytes of one slab.
    ///   - limit: how many slabs exist at most.
    package init(slabSize: Int, limit: Int) {
        self.slabSize = slabSize
        self.limit = limit
    }

    deinit {
        state.withLock { state in
            for pointer in state.free { pointer.deallocate() }
        }
    }

    /// A slab with undefined contents; `nil` when the pipeline failed.
    package func take() -> Slab? {
        let outcome = state.wait { state -> Outcome? in
            if state.failed { return .failed }
            if let pointer = state.free.popLast() { return .slab(pointer) }
            if state.made < limit {
                state.made += 1
                return .slab(UnsafeMutableRawPointer.allocate(byteCount: slabSize, alignment: 4096))
            }
            return nil
        }
        guard case .slab(let pointer) = outcome else { return nil }
        return Slab(base: pointer, capacity: slabSize, pool: self)
    }

    /// Lets waiting and later takers go on with nothing.
    package func fail() { state.update { $0.failed = true } }

    fileprivate func giveBack(_ pointer: UnsafeMutableRawPointer) {
        state.update { $0.free.append(pointer) }
    }
}
