import Model
import Platform
import Vault

/// Threads that bring what will be read soon.
final class ReadAhead: Sendable {
    private struct Job {
        var point: OpenPoint
        var claimed: [BlobKey]
    }

    private struct State {
        var jobs: [Job] = []
        var isStopped = false
    }

    /// More that wait are given up: whoever reads then fetches by itself.
    private static let most = 32

    private let state = Monitor(State())

    func start(threads: Int) throws {
        for number in 0..<threads {
            // Never joined: one may be waiting for a vault far away when the program ends.
            _ = try WorkerThread(name: "ahead-\(number)") { [self] in work() }
        }
    }

    func stop() {
        let rest = state.update { state in
            state.isStopped = true
            defer { state.jobs = [] }
            return state.jobs
        }
        for job in rest { job.point.drop(job.claimed) }
    }

    /// Brings those of `keys` that are not here yet.
    func want(_ keys: [ContentKey], of point: OpenPoint) {
        let claimed = point.claim(keys)
        if claimed.isEmpty { return }
        let isTaken = state.update { state in
            if state.isStopped || state.jobs.count >= Self.most { return false }
            state.jobs.append(Job(point: point, claimed: claimed))
            return true
        }
        if !isTaken { point.drop(claimed) }
    }

    private func work() {
        while true {
            let job: Job? = state.wait { state -> Job?? in
                if state.isStopped { return .some(nil) }
                return state.jobs.isEmpty ? nil : .some(state.jobs.removeFirst())
            }
            guard let job else { return }
            // What fails here fails again for whoever reads it, who is told.
            try? job.point.load(job.claimed)
        }
    }
}
