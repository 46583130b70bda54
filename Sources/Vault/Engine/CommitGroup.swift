import Model
import Platform

/// Work that costs as much for many as for one, because of what it waits for: whoever comes while it is done waits, and is
/// done with all others that came meanwhile.
///
/// No thread of its own: one of those who wait does the work for all, and hands it on when its own part is done.
final class CommitGroup<Request: Sendable, Answer: Sendable>: Sendable {
    private struct State {
        var waiting: [(ticket: UInt64, key: UInt64, request: Request)] = []
        var answers: [UInt64: Result<Answer, any Error>] = [:]
        var nextTicket: UInt64 = 0
        var isWorking = false
    }

    private enum Turn {
        case done(Result<Answer, any Error>)
        case lead([(ticket: UInt64, request: Request)])
    }

    /// Most requests that are done at once: those who wait for the store meanwhile must not wait long.
    private let limit: Int
    private let state = Monitor(State())

    init(limit: Int = 128) { self.limit = limit }

    /// Adds a request and waits for its answer.
    ///
    /// - Parameters:
    ///   - key: of requests with the same key only one is done at a time, in the order in which they came.
    ///   - work: does many requests, and answers each in its place. What it throws is everybody's answer.
    func run(_ request: Request, key: UInt64, _ work: ([Request]) throws -> [Result<Answer, any Error>]) throws
        -> Answer
    {
        let ticket = state.withLock { state in
            state.nextTicket += 1
            state.waiting.append((state.nextTicket, key, request))
            return state.nextTicket
        }
        while true {
            switch state.wait({ turn(of: ticket, &$0) }) {
            case .done(let answer): return try answer.get()
            case .lead(let batch):
                let answers: [Result<Answer, any Error>]
                do {
                    answers = try work(batch.map(\.request))
                } catch {
                    answers = batch.map { _ in .failure(error) }
                }
                state.update { state in
                    for (entry, answer) in zip(batch, answers) { state.answers[entry.ticket] = answer }
                    state.isWorking = false
                }
            }
        }
    }

    private func turn(of ticket: UInt64, _ state: inout State) -> Turn? {
        if let answer = state.answers.removeValue(forKey: ticket) { return .done(answer) }
        if state.isWorking { return nil }
        var batch: [(ticket: UInt64, request: Request)] = []
        var keys: Set<UInt64> = []
        var rest: [(ticket: UInt64, key: UInt64, request: Request)] = []
        for entry in state.waiting {
            if batch.count < limit, keys.insert(entry.key).inserted {
                batch.append((entry.ticket, entry.request))
            } else {
                rest.append(entry)
            }
        }
        state.waiting = rest
        state.isWorking = true
        return .lead(batch)
    }
}
