import Model
import Platform
import Synchronization

/// What whoever mounted is told of reads that failed: programs that read get an error number only.
package final class Complaints: Sendable {
    private struct State {
        var told: Set<String> = []
        /// When it was last said that the vault cannot be reached; 0 while it can.
        var away: Int64 = 0
    }

    /// Each file is named once; after so many the memory begins anew.
    private static let most = 10_000
    private static let pause: Int64 = 60_000_000_000

    private let say: @Sendable (String) -> Void
    private let state = Mutex(State())

    /// - Parameter say: gets one line at a time, from any thread.
    package init(_ say: @escaping @Sendable (String) -> Void) { self.say = say }

    /// Something of a point cannot be read.
    func about(_ path: TreePath, _ place: PointPlace, _ error: any Error) {
        guard let error = error as? HoldfastError else {
            once("\(path.displayText) in \(place.title) cannot be read: \(error)")
            return
        }
        if error.code == .damaged || error.code == .missingBlobs {
            once(
                "\(path.displayText) in \(place.title) cannot be read: \(error.message). `holdfast vault verify` lists what is "
                    + "damaged; another point may have it whole.")
        } else if error.isTemporary || Self.isAboutTheWay(error) {
            away(error)
        } else {
            once("\(path.displayText) in \(place.title) cannot be read: \(error.message)")
        }
    }

    /// A point went while somebody had it open.
    func removed(_ place: PointPlace) {
        once("\(place.title) was removed from the vault while it was in use here; programs get \"stale file handle\".")
    }

    /// Only its name and metadata were kept.
    func hasNoContent(_ path: TreePath, _ place: PointPlace) {
        once("\(path.displayText) in \(place.title) has no content: it could not be read when the point was made.")
    }

    /// The vault does not answer.
    func away(_ error: any Error) {
        let now = SystemClock.monotonic
        let isNews = state.withLock { state in
            if state.away != 0, now - state.away < Self.pause { return false }
            state.away = now
            return true
        }
        guard isNews else { return }
        let why = (error as? HoldfastError)?.message ?? "\(error)"
        say("The vault cannot be read now; programs get \"input/output error\" until it can: \(why)")
    }

    static func isAboutTheWay(_ error: HoldfastError) -> Bool {
        ["unreachable", "io", "busy", "untrusted", "overloaded", "clock-unknown"].contains(error.code.description)
    }

    private func once(_ text: String) {
        let isNews = state.withLock { state in
            if state.told.count >= Self.most { state.told = [] }
            return state.told.insert(text).inserted
        }
        if isNews { say(text) }
    }
}
