// A stand-in for the accelerator: copies `count` beats from source to target, one added to every byte, and reports on itself.
module triovit #(
    parameter int BEAT_BYTES = 16,
    parameter int L = 4,
    parameter int M = 4
) (
    input  logic clk,
    input  logic rst,
    input  logic [11:0] s_axi_awaddr,
    input  logic s_axi_awvalid,
    output logic s_axi_awready,
    input  logic [31:0] s_axi_wdata,
    input  logic [3:0] s_axi_wstrb,
    input  logic s_axi_wvalid,
    output logic s_axi_wready,
    output logic [1:0] s_axi_bresp,
    output logic s_axi_bvalid,
    input  logic s_axi_bready,
    input  logic [11:0] s_axi_araddr,
    input  logic s_axi_arvalid,
    output logic s_axi_arready,
    output logic [31:0] s_axi_rdata,
    output logic [1:0] s_axi_rresp,
    output logic s_axi_rvalid,
    input  logic s_axi_rready,
    output logic [39:0] m_axi_araddr,
    output logic [7:0] m_axi_arlen,
    output logic [2:0] m_axi_arsize,
    output logic [1:0] m_axi_arburst,
    output logic m_axi_arvalid,
    input  logic m_axi_arready,
    input  logic [8*BEAT_BYTES-1:0] m_axi_rdata,
    input  logic [1:0] m_axi_rresp,
    input  logic m_axi_rlast,
    input  logic m_axi_rvalid,
    output logic m_axi_rready,
    output logic [39:0] m_axi_awaddr,
    output logic [7:0] m_axi_awlen,
    output logic [2:0] m_axi_awsize,
    output logic [1:0] m_axi_awburst,
    output logic m_axi_awvalid,
    input  logic m_axi_awready,
    output logic [8*BEAT_BYTES-1:0] m_axi_wdata,
    output logic [BEAT_BYTES-1:0] m_axi_wstrb,
    output logic m_axi_wlast,
    output logic m_axi_wvalid,
    input  logic m_axi_wready,
    input  logic [1:0] m_axi_bresp,
    input  logic m_axi_bvalid,
    output logic m_axi_bready,
    output logic irq,
    output logic trace_valid,
    output logic [15:0] trace_tag,
    output logic [3:0] trace_dst,
    output logic [15:0] trace_px,
    output logic [11:0] trace_cg,
    output logic [L-1:0] trace_mask,
    output logic [3:0] trace_split,
    output logic trace_row_sum,
    output logic [L*M*16-1:0] trace_words,
    output logic trace_dispatch_valid,
    output logic [15:0] trace_dispatch_tag,
    output logic [3:0] trace_dispatch_unit,
    output logic [3:0] trace_busy
);
    // The offsets are those of REGISTERS in test_runner.py. Source, target and beats are INPUT_ADDR, OUTPUT_ADDR and PROGRAM_COUNT;
    // WEIGHTS_BEATS chooses a fault: 1 hang before the last beat, 2 a burst that crosses a page, 4 reads are never answered.
    localparam int CTRL = 0, STATUS = 1, COUNT = 5, FAULT = 8, SOURCE = 9, TARGET = 11;
    logic [31:0] registers [16];
    logic done, failed, busy;
    wire logic start = s_axi_awvalid && s_axi_awready && s_axi_awaddr[7:2] == CTRL && s_axi_wdata[0];

    assign s_axi_awready = s_axi_awvalid && s_axi_wvalid && !s_axi_bvalid;
    assign s_axi_wready = s_axi_awready;
    assign s_axi_arready = !s_axi_rvalid && !registers[FAULT][2];
    assign s_axi_bresp = 0;
    assign s_axi_rresp = 0;
    always_ff @(posedge clk) begin
        if (rst) begin
            s_axi_bvalid <= 0;
            s_axi_rvalid <= 0;
        end else begin
            if (s_axi_bready) s_axi_bvalid <= 0;
            if (s_axi_rready) s_axi_rvalid <= 0;
            if (s_axi_awready) begin
                s_axi_bvalid <= 1;
                if (s_axi_wstrb == 15) registers[s_axi_awaddr[5:2]] <= s_axi_wdata;
            end
            if (s_axi_arvalid && s_axi_arready) begin
                s_axi_rvalid <= 1;
                s_axi_rdata <= s_axi_araddr[5:2] == STATUS ? {29'd0, failed, done, busy} : registers[s_axi_araddr[5:2]];
            end
        end
    end

    // One beat a burst, in turn: address, data, address, data, response. Reads overtake writes by a beat at most.
    logic [31:0] beat;
    logic [8*BEAT_BYTES-1:0] held, sum;
    logic asked, got, sent_address, sent_data;
    always_comb for (int i = 0; i < BEAT_BYTES; i++) sum[8*i +: 8] = held[8*i +: 8] + 8'd1;
    wire logic hang = registers[FAULT][0] && beat + 1 == registers[COUNT];

    assign m_axi_araddr = {registers[SOURCE + 1][7:0], registers[SOURCE]} + 40'(beat) * BEAT_BYTES;
    assign m_axi_awaddr = {registers[TARGET + 1][7:0], registers[TARGET]} + 40'(beat) * BEAT_BYTES;
    assign m_axi_arlen = registers[FAULT][1] ? 255 : 0;
    assign m_axi_awlen = 0;
    assign m_axi_arsize = $clog2(BEAT_BYTES);
    assign m_axi_awsize = $clog2(BEAT_BYTES);
    assign m_axi_arburst = 1;
    assign m_axi_awburst = 1;
    assign m_axi_arvalid = busy && !asked && !hang;
    assign m_axi_rready = asked && !got;
    assign m_axi_awvalid = got && !sent_address;
    assign m_axi_wvalid = got && !sent_data;
    assign m_axi_wdata = sum;
    assign m_axi_wstrb = '1;
    assign m_axi_wlast = 1;
    assign m_axi_bready = sent_address && sent_data;
    assign irq = done;
    assign trace_busy = {2'b00, busy && beat[0], busy};

    wire logic answered = m_axi_bvalid && m_axi_bready;
    always_ff @(posedge clk) begin
        trace_dispatch_valid <= 0;
        trace_valid <= 0;
        if (rst) begin
            {busy, done, failed, asked, got, sent_address, sent_data} <= 0;
            beat <= 0;
        end else begin
            if (s_axi_awready && s_axi_awaddr[7:2] == STATUS) {done, failed} <= 0;
            if (start) begin
                busy <= 1;
                beat <= 0;
                trace_dispatch_valid <= 1;
                trace_dispatch_tag <= 7;
                trace_dispatch_unit <= 1;
            end
            if (m_axi_arvalid && m_axi_arready) asked <= 1;
            if (m_axi_rvalid && m_axi_rready && m_axi_rlast) begin
                got <= 1;
                held <= m_axi_rdata;
                if (m_axi_rresp != 0) failed <= 1;
            end
            if (m_axi_awvalid && m_axi_awready) sent_address <= 1;
            if (m_axi_wvalid && m_axi_wready) sent_data <= 1;
            if (answered) begin
                {asked, got, sent_address, sent_data} <= 0;
                beat <= beat + 1;
                if (m_axi_bresp != 0) failed <= 1;
                trace_valid <= 1;
                trace_tag <= 7;
                trace_dst <= 3;
                // Two pixels and two channel groups a record, so that assembling is put to work.
                trace_px <= 16'(beat[15:0] * 2);
                trace_cg <= 4;
                trace_split <= 1;
                trace_mask <= beat == 0 ? '1 ^ L'(2) : '1;
                trace_row_sum <= beat[0];
                for (int i = 0; i < L * M; i++) trace_words[16*i +: 16] <= 16'(beat) * 16'd100 - 16'(i);
                if (beat + 1 == registers[COUNT]) begin
                    busy <= 0;
                    done <= 1;
                end
                if (m_axi_bresp != 0 || failed) begin
                    busy <= 0;
                    done <= 1;
                end
            end
        end
    end
endmodule
