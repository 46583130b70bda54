import CLinux

/// Ends another thread's wait in `Poll.wait`.
package final class WakeUp: Sendable {
    private let descriptor: FileDescriptor

    package init() throws(Errno) { descriptor = FileDescriptor(owning: Int32(try retrying { hf_eventfd() })) }

    /// For `Poll.wait`, with `.readable`.
    package var raw: Int32 { descriptor.raw }

    /// Wakes who waits now, or the next who will.
    package func signal() {
        var one: UInt64 = 1
        // The only failure is a counter that is full, which wakes just as well.
        _ = hf_write(descriptor.raw, &one, 8)
    }

    /// Forgets signals so far.
    package func reset() {
        var count: UInt64 = 0
        _ = hf_read(descriptor.raw, &count, 8)
    }
}

/// Waiting for several descriptors at once.
package enum Poll {
    /// What is waited for on a descriptor.
    package enum Condition: Sendable {
        /// There is something to read.
        case readable
        /// The file says that it has changed: `/proc/self/mountinfo` does so when something is mounted or unmounted.
        case changed
    }

    /// Waits at most `milliseconds` (`nil`: for ever) until something happened to one of the descriptors.
    /// - Returns: for each whether something happened to it.
    package static func wait(
        for descriptors: [(raw: Int32, condition: Condition)], milliseconds: Int?
    ) throws(Errno) -> [Bool] {
        var items = descriptors.map { item in
            hf_poll_item(
                descriptor: item.raw, wanted: item.condition == .readable ? HF_POLLIN : HF_POLLPRI | HF_POLLERR,
                happened: 0)
        }
        let limit = milliseconds.map { Int32(clamping: max($0, 0)) } ?? -1
        _ = try retrying { hf_poll(&items, UInt32(items.count), limit) }
        return items.map { $0.happened != 0 }
    }
}
