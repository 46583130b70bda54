import Hummingbird
import Model
import NIOCore
import Platform

/// A body that is made while it is sent: by a thread of its own, at most a few pieces ahead of who reads. Nothing else waits for it:
/// who reads slowly, and what is made slowly, hold none of the server's other threads.
enum StreamedBody {
    static let piece = 256 << 10
    /// The first piece is sent before there is a whole one: whoever asked for ten thousand small files sees at once that they come.
    static let firstPiece = 4 << 10
    static let ahead = 4

    static func make(_ stream: ServerAnswer.Stream, channel: any Channel, slowest: Int) -> ResponseBody {
        ResponseBody(contentLength: stream.length.map { Int(clamping: $0) }) { writer in
            let pieces = StreamedPieces(ahead: ahead)
            // The thread holds the stream's place until it ends.
            _ = try WorkerThread(name: "stream", stack: 16 << 20) { fill(pieces, stream) }
            // It ends by itself at its next piece.
            defer { pieces.giveUp() }
            while let bytes = try await pieces.next() {
                // Who asks and does not listen is hung up on.
                let deadline = channel.eventLoop.scheduleTask(in: .seconds(60 + Int64(bytes.count / max(slowest, 1)))) {
                    channel.close(promise: nil)
                }
                defer { deadline.cancel() }
                try await writer.write(ByteBuffer(bytes: bytes))
            }
            try await writer.finish(nil)
        }
    }

    private static func fill(_ pieces: StreamedPieces, _ stream: ServerAnswer.Stream) {
        var collected: [UInt8] = []
        collected.reserveCapacity(piece)
        var limit = firstPiece
        do {
            try stream.body { bytes in
                var rest = bytes
                while !rest.isEmpty {
                    let count = min(limit - collected.count, rest.count)
                    collected.append(contentsOf: rest[..<count])
                    rest = UnsafeRawBufferPointer(rebasing: rest[count...])
                    guard collected.count == limit else { continue }
                    try pieces.push(collected)
                    limit = piece
                    collected = []
                    collected.reserveCapacity(piece)
                }
            }
            if !collected.isEmpty { try pieces.push(collected) }
            pieces.end(.success(()))
        } catch { pieces.end(.failure(error)) }
    }
}

/// Pieces from a thread that waits to a task that does not.
final class StreamedPieces: Sendable {
    private struct State {
        var pieces: [[UInt8]] = []
        var end: Result<Void, any Error>?
        var reader: CheckedContinuation<[UInt8]?, any Error>?
        /// Nobody reads any more.
        var isGivenUp = false

        /// What a reader is told now; `nil` when it has to wait.
        mutating func take() -> Result<[UInt8]?, any Error>? {
            if !pieces.isEmpty { return .success(pieces.removeFirst()) }
            return end.map { end in end.map { nil } }
        }
    }

    private let state = Monitor(State())
    private let ahead: Int

    init(ahead: Int) { self.ahead = ahead }

    /// Adds a piece when there is room. Throws when nobody reads any more.
    func push(_ piece: [UInt8]) throws {
        state.wait { state -> Void? in state.isGivenUp || state.pieces.count < ahead ? () : nil }
        let reader = try state.update { state -> CheckedContinuation<[UInt8]?, any Error>? in
            if state.isGivenUp { throw QueueClosed() }
            guard let reader = state.reader else {
                state.pieces.append(piece)
                return nil
            }
            state.reader = nil
            return reader
        }
        reader?.resume(returning: piece)
    }

    /// Nothing more comes.
    func end(_ end: Result<Void, any Error>) {
        let reader = state.update { state in
            if state.end == nil { state.end = end }
            defer { state.reader = nil }
            return state.reader
        }
        reader?.resume(with: end.map { nil })
    }

    /// The next piece; `nil` at the end. Throws what ended it. For one reader.
    func next() async throws -> [UInt8]? {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let told = state.update { state -> Result<[UInt8]?, any Error>? in
                    let told = state.take()
                    if told == nil { state.reader = continuation }
                    return told
                }
                if let told { continuation.resume(with: told) }
            }
        } onCancel: {
            giveUp()
        }
    }

    func giveUp() {
        state.update { $0.isGivenUp = true }
        end(.failure(CancellationError()))
    }
}
