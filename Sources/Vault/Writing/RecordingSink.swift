package import Model

/// Hands nodes to the sealing pipeline and remembers their content keys, so that the next run need not send them.
package final class RecordingSink: NodeSink {
    private let pipeline: SealingPipeline
    private let known: Set<ContentKey>
    /// The keys of all nodes that were put, sent or not.
    package private(set) var recorded: Set<ContentKey> = []

    /// - Parameter known: nodes that the writer's newest stored point holds.
    package init(pipeline: SealingPipeline, known: Set<ContentKey>) {
        self.pipeline = pipeline
        self.known = known
    }

    package func put(type: BlobType, plain: [UInt8], children: [ContentKey]) throws -> ContentKey {
        let key = try pipeline.put(type: type, plain: plain, children: children, known: known)
        recorded.insert(key)
        return key
    }
}
