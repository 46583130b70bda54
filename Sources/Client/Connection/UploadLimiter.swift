package import Model
import Platform
package import Policy
import Synchronization

/// Holds what is uploaded to the limits of a policy. One for all connections of a program that share a link.
///
/// Only what is told so counts: packs of backups. Questions, answers and restores are never held up.
package final class UploadLimiter: Sendable {
    private struct State {
        var windows = BandwidthWindows()
        var zone = TimeZoneRules.utc
        var pacer: RatePacer
        /// When the clock is looked at again, whether another window has begun.
        var nextLook = Int64.min
    }

    private let state: Mutex<State>
    private let wall: @Sendable () -> Int64
    private let monotonic: @Sendable () -> Int64

    /// - Parameters:
    ///   - wall: nanoseconds since 1970.
    ///   - monotonic: nanoseconds of a clock that only goes forward.
    package init(
        wall: @escaping @Sendable () -> Int64 = { SystemClock.wall },
        monotonic: @escaping @Sendable () -> Int64 = { SystemClock.monotonic }
    ) {
        self.wall = wall
        self.monotonic = monotonic
        state = Mutex(State(pacer: RatePacer(rate: nil, now: monotonic())))
    }

    /// Other limits from now on, also for what is on its way.
    package func set(_ windows: BandwidthWindows, zone: TimeZoneRules) {
        state.withLock { state in
            state.windows = windows
            state.zone = zone
            state.nextLook = .min
        }
    }

    /// Bytes a second that may be sent now; `nil` is no limit.
    package var rate: Rate? {
        let now = monotonic()
        return state.withLock { state in
            look(&state, now)
            return state.pacer.rate
        }
    }

    /// Takes `bytes` and answers how many nanoseconds to wait before they are sent.
    package func reserve(_ bytes: Int) -> Int64 {
        let now = monotonic()
        return state.withLock { state in
            look(&state, now)
            return state.pacer.reserve(bytes, now: now)
        }
    }

    /// How long a body may take beside the usual, in seconds: twice what the slowest of the limits makes of it.
    package func patience(for bytes: Int) -> Int {
        let slowest = state.withLock { $0.windows.slowest }
        guard let slowest, slowest.bytesPerSecond > 0 else { return 0 }
        return 2 * (bytes / Int(clamping: slowest.bytesPerSecond) + 1)
    }

    /// Whether there is a limit at any time of the week.
    package var isLimited: Bool { state.withLock { $0.windows.slowest != nil } }

    /// How much of a body goes at once: about an eighth of a second.
    package var piece: Int {
        guard let rate else { return UploadLimiter.unlimitedPiece }
        return Int(clamping: min(max(rate.bytesPerSecond / 8, 1_024), UInt64(UploadLimiter.largestPiece)))
    }

    private static let largestPiece = 16 << 10
    private static let unlimitedPiece = 64 << 10

    private func look(_ state: inout State, _ now: Int64) {
        guard now >= state.nextLook else { return }
        state.nextLook = now + 1_000_000_000
        let rate = state.windows.limit(at: Timestamp(nanoseconds: wall()), in: state.zone)
        if rate != state.pacer.rate { state.pacer.setRate(rate, now: now) }
    }
}
