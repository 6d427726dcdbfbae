// The accelerator with its clock, its DRAM and its host, and a watchdog. Python touches only the signals named in bench.vlt.
`timescale 1ns / 1ps
module bench #(
    parameter int ADDRESS_BITS = 40,
    parameter int REGISTER_BITS = 12,
    parameter int BEAT_BYTES = 16,
    parameter int L = 4,
    parameter int M = 4,
    parameter int DRAM_BYTES = 1 << 20
);
    // Written by the test: one register access for each toggle of `go`; `waiting` arms the watchdog and `wake`.
    logic host_go = 0, host_write = 0, waiting = 0;
    logic [31:0] host_address = 0, host_data = 0;
    // Read by the test; `ready` once the reset is over.
    logic host_done, host_expired, wake = 0, ready = 0;
    logic [31:0] host_result;
    logic [1:0] host_response;
    // Why the watchdog rang: 1 nothing happened for too long, 2 the run took too long.
    logic [1:0] stopped = 0;

    logic clk = 0, rst = 1;
    always #5 clk = ~clk;
    logic [63:0] cycle = 0;
    always_ff @(posedge clk) begin
        cycle <= cycle + 1;
        rst <= cycle < 8;
        ready <= cycle > 16;
    end

    logic [31:0] s_awaddr, s_wdata, s_araddr, s_rdata;
    logic [1:0] s_bresp, s_rresp;
    logic s_awvalid, s_awready, s_wvalid, s_wready, s_bvalid, s_bready, s_arvalid, s_arready, s_rvalid, s_rready;
    logic [ADDRESS_BITS-1:0] m_araddr, m_awaddr;
    logic [7:0] m_arlen, m_awlen;
    logic [2:0] m_arsize, m_awsize;
    logic [1:0] m_arburst, m_awburst, m_rresp, m_bresp;
    logic [8*BEAT_BYTES-1:0] m_rdata, m_wdata;
    logic [BEAT_BYTES-1:0] m_wstrb;
    logic m_arvalid, m_arready, m_rlast, m_rvalid, m_rready, m_awvalid, m_awready, m_wlast, m_wvalid, m_wready, m_bvalid, m_bready;
    logic irq;
    logic trace_valid, trace_row_sum, trace_dispatch_valid;
    logic [15:0] trace_tag, trace_px, trace_dispatch_tag;
    logic [3:0] trace_dst, trace_split, trace_dispatch_unit, trace_busy;
    logic [11:0] trace_cg;
    logic [L-1:0] trace_mask;
    logic [L*M*16-1:0] trace_words;

    triovit dut (
        .clk, .rst, .irq,
        .s_axi_awaddr(s_awaddr[REGISTER_BITS-1:0]), .s_axi_awvalid(s_awvalid), .s_axi_awready(s_awready),
        .s_axi_wdata(s_wdata), .s_axi_wstrb(4'hf), .s_axi_wvalid(s_wvalid), .s_axi_wready(s_wready),
        .s_axi_bresp(s_bresp), .s_axi_bvalid(s_bvalid), .s_axi_bready(s_bready),
        .s_axi_araddr(s_araddr[REGISTER_BITS-1:0]), .s_axi_arvalid(s_arvalid), .s_axi_arready(s_arready),
        .s_axi_rdata(s_rdata), .s_axi_rresp(s_rresp), .s_axi_rvalid(s_rvalid), .s_axi_rready(s_rready),
        .m_axi_araddr(m_araddr), .m_axi_arlen(m_arlen), .m_axi_arsize(m_arsize), .m_axi_arburst(m_arburst),
        .m_axi_arvalid(m_arvalid), .m_axi_arready(m_arready),
        .m_axi_rdata(m_rdata), .m_axi_rresp(m_rresp), .m_axi_rlast(m_rlast), .m_axi_rvalid(m_rvalid), .m_axi_rready(m_rready),
        .m_axi_awaddr(m_awaddr), .m_axi_awlen(m_awlen), .m_axi_awsize(m_awsize), .m_axi_awburst(m_awburst),
        .m_axi_awvalid(m_awvalid), .m_axi_awready(m_awready),
        .m_axi_wdata(m_wdata), .m_axi_wstrb(m_wstrb), .m_axi_wlast(m_wlast), .m_axi_wvalid(m_wvalid), .m_axi_wready(m_wready),
        .m_axi_bresp(m_bresp), .m_axi_bvalid(m_bvalid), .m_axi_bready(m_bready),
        .trace_valid, .trace_tag, .trace_dst, .trace_px, .trace_cg, .trace_mask, .trace_split, .trace_row_sum, .trace_words,
        .trace_dispatch_valid, .trace_dispatch_tag, .trace_dispatch_unit, .trace_busy
    );

    bench_host host (
        .clk, .rst, .go(host_go), .write(host_write), .address(host_address), .data(host_data),
        .done(host_done), .result(host_result), .response(host_response), .expired(host_expired),
        .awaddr(s_awaddr), .awvalid(s_awvalid), .awready(s_awready), .wdata(s_wdata), .wvalid(s_wvalid), .wready(s_wready),
        .bresp(s_bresp), .bvalid(s_bvalid), .bready(s_bready), .araddr(s_araddr), .arvalid(s_arvalid), .arready(s_arready),
        .rdata(s_rdata), .rresp(s_rresp), .rvalid(s_rvalid), .rready(s_rready)
    );

    logic moved;
    bench_memory #(.ADDRESS_BITS(ADDRESS_BITS), .BEAT_BYTES(BEAT_BYTES), .DRAM_BYTES(DRAM_BYTES)) dram (
        .clk, .rst, .cycle,
        .araddr(m_araddr), .arlen(m_arlen), .arsize(m_arsize), .arburst(m_arburst), .arvalid(m_arvalid), .arready(m_arready),
        .rdata(m_rdata), .rresp(m_rresp), .rlast(m_rlast), .rvalid(m_rvalid), .rready(m_rready),
        .awaddr(m_awaddr), .awlen(m_awlen), .awsize(m_awsize), .awburst(m_awburst), .awvalid(m_awvalid), .awready(m_awready),
        .wdata(m_wdata), .wstrb(m_wstrb), .wlast(m_wlast), .wvalid(m_wvalid), .wready(m_wready),
        .bresp(m_bresp), .bvalid(m_bvalid), .bready(m_bready), .progress(moved)
    );

    bench_trace #(.L(L), .M(M)) trace (
        .clk, .rst, .cycle, .valid(trace_valid), .tag(trace_tag), .dst(trace_dst), .px(trace_px), .cg(trace_cg), .mask(trace_mask),
        .split(trace_split), .row_sum(trace_row_sum), .words(trace_words),
        .dispatch_valid(trace_dispatch_valid), .dispatch_tag(trace_dispatch_tag), .dispatch_unit(trace_dispatch_unit), .busy(trace_busy)
    );

    // ---- watchdog -------------------------------------------------------------------------------------

    longint patience, limit, idle, waited;
    logic [15:0] last_tag;
    logic dispatched = 0;
    initial begin
        patience = 1 << 20;
        limit = 64'd1 << 40;
        void'($value$plusargs("patience=%d", patience));
        void'($value$plusargs("limit=%d", limit));
    end
    always_ff @(posedge clk) begin
        wake <= waiting && (irq || stopped != 0);
        if (!waiting) begin
            idle <= 0;
            waited <= 0;
        end else begin
            idle <= moved || trace_valid || trace_dispatch_valid ? 0 : idle + 1;
            waited <= waited + 1;
            if (stopped == 0 && !irq) begin
                if (idle >= patience) stopped <= 1;
                else if (waited >= limit) stopped <= 2;
            end
        end
        if (trace_dispatch_valid && !rst) begin
            last_tag <= trace_dispatch_tag;
            dispatched <= 1;
        end
    end

    int summary;
    final begin
        summary = $fopen("summary.txt", "w");
        $fwrite(summary, "cycles %0d\nstopped %0d\ndispatched %0d\nlast_tag %0d\nbusy %0d\n", cycle, stopped, dispatched, last_tag, trace_busy);
        dram.report(summary);
        $fclose(summary);
    end
endmodule
