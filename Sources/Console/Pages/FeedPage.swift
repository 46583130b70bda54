import Catalog
import Model
import Platform
import Server
import Synchronization

/// What keeps open pages fresh: says when something that they show has changed, and the page then asks for itself anew. What is
/// shown is made in one place, whether a page moves or not.
enum FeedPage {
    /// For pages about machines, alerts and jobs together, and for those about jobs alone.
    static let states = "/feed"
    static let jobs = "/feed?of=jobs"

    static let page = Page.get(
        "/feed", "Says when something has changed, as server-sent events.", .right(.seeStates), open)

    @Sendable private static func open(_ visit: Visit) throws -> ServerAnswer {
        guard let visitor = visit.visitor else { throw HoldfastError(.keyNeeded, "Sign in first.") }
        let (core, accounts) = (visit.core, visit.site.accounts)
        guard let place = core.views.enter(visitor.account.id.hex) else {
            var answer = ServerAnswer(status: 503)
            answer.headers = [("Retry-After", "30")]
            return answer
        }
        let isOfJobs = visit.query.text("of") == "jobs"
        // Many machines report all the time, and a page about them takes longer to make.
        let pause = isOfJobs ? 1 : max(3, Int64(try visit.machines().count) / 100)
        let watch = Watch(LivePace(seconds: pause))
        var answer = ServerAnswer(contentType: "text/event-stream")
        answer.events = ServerAnswer.Events(place: place) {
            if watch.isOver { return nil }
            guard watch.isSession(accounts, visitor) else { return watch.end() }
            return watch.isDue(core.pulse(jobsOnly: isOfJobs)) ? LiveEvent.text("change", "") : ""
        }
        return answer
    }

    private struct State {
        var pace: LivePace
        var looked: Int64 = .min
        var isOver = false
    }

    private final class Watch: Sendable {
        private let state: Mutex<State>
        private static let interval: Int64 = 2_000_000_000

        init(_ pace: LivePace) { state = Mutex(State(pace: pace)) }

        /// Whether the session holds; looked at every two seconds.
        func isSession(_ accounts: AccountBook, _ visitor: AccountBook.Visitor) -> Bool {
            let now = SystemClock.monotonic
            let looks = state.withLock { state in
                guard state.looked == .min || now - state.looked >= Self.interval else { return false }
                state.looked = now
                return true
            }
            return !looks || accounts.isOpen(visitor)
        }

        func isDue(_ pulse: LivePulse) -> Bool { state.withLock { $0.pace.isDue(pulse, SystemClock.monotonic) } }

        var isOver: Bool { state.withLock { $0.isOver } }

        /// The last word.
        func end() -> String {
            state.withLock { $0.isOver = true }
            return LiveEvent.text("end", "signed out")
        }
    }
}
