//! Responsible for the agents themselves: five, each with three capabilities. It must never know how they are asked.

use super::{Agent, Capability, Input};

/// The areas of business that workflows, documents and agents may name.
pub const AREAS: &[&str] = &[
    "marketing",
    "sales",
    "operations",
    "hr",
    "finance",
    "legal",
    "technical",
    "content",
    "strategy",
    "customer_service",
];

/// The agents.
pub const AGENTS: &[Agent] = &[
    Agent {
        id: "marketing_001",
        name_es: "Agente de marketing",
        name_en: "Marketing agent",
        business_area: "marketing",
        role: "You are the marketing agent of a company. You plan campaigns, write content and read markets, and you ground each proposal in the audience and the budget you are given.",
        capabilities: &[
            Capability {
                name: "campaign_planning",
                description_es: "Planifica una campaña: objetivos, canales, calendario y medidas",
                description_en: "Plans a campaign: goals, channels, calendar, measures",
                inputs: &[
                    needed("product", "What is promoted"),
                    needed("audience", "Whom it is for"),
                    optional("budget", "What may be spent"),
                    optional("duration", "How long it runs"),
                    optional("goals", "What it shall reach"),
                ],
                task: "Plan a marketing campaign for the product and audience given.",
                sections: &[
                    "Goals",
                    "Audience and message",
                    "Channels and calendar",
                    "Budget",
                    "Measures",
                ],
                agent: "marketing_001",
            },
            Capability {
                name: "content_creation",
                description_es: "Redacta contenido para un canal y un público",
                description_en: "Writes content for a channel and an audience",
                inputs: &[
                    needed("topic", "What it is about"),
                    needed("channel", "Where it appears"),
                    optional("audience", "Who reads it"),
                    optional("tone", "How it sounds"),
                    optional("keywords", "Words to use"),
                ],
                task: "Write the content asked for, ready to publish on the channel given.",
                sections: &["Title", "Text", "Call to action"],
                agent: "marketing_001",
            },
            Capability {
                name: "market_analysis",
                description_es: "Analiza un mercado: segmentos, competencia y oportunidades",
                description_en: "Analyses a market: segments, competition, opportunities",
                inputs: &[
                    needed("market", "Which market"),
                    optional("product", "What is offered in it"),
                    optional("competitors", "Who else offers it"),
                    optional("data", "Figures to use"),
                ],
                task: "Analyse the market given: its segments, its competition, its openings and its risks.",
                sections: &[
                    "Summary",
                    "Segments",
                    "Competition",
                    "Opportunities and risks",
                    "Recommendations",
                ],
                agent: "marketing_001",
            },
        ],
    },
    Agent {
        id: "sales_001",
        name_es: "Agente de ventas",
        name_en: "Sales agent",
        business_area: "sales",
        role: "You are the sales agent of a company. You find whom to sell to, write offers and foresee sales, and you keep apart what is known from what is hoped.",
        capabilities: &[
            Capability {
                name: "lead_generation",
                description_es: "Define clientes ideales y cómo llegar a ellos",
                description_en: "Defines ideal customers and how to reach them",
                inputs: &[
                    needed("offer", "What is sold"),
                    needed("market", "Where"),
                    optional("criteria", "What makes a good lead"),
                ],
                task: "Describe the ideal customers of the offer given, where to find them, how to tell good leads from bad, and how to open the conversation.",
                sections: &[
                    "Ideal customer",
                    "Where to find them",
                    "How to qualify",
                    "First message",
                ],
                agent: "sales_001",
            },
            Capability {
                name: "proposal_generation",
                description_es: "Redacta una propuesta comercial",
                description_en: "Writes a commercial proposal",
                inputs: &[
                    needed("client", "For whom"),
                    needed("needs", "What the client needs"),
                    needed("offer", "What is offered"),
                    optional("price", "What it costs"),
                    optional("terms", "Under which terms"),
                ],
                task: "Write a commercial proposal to the client given.",
                sections: &[
                    "Summary",
                    "What you need",
                    "What we propose",
                    "Price and terms",
                    "Next steps",
                ],
                agent: "sales_001",
            },
            Capability {
                name: "sales_forecasting",
                description_es: "Prevé ventas a partir de datos",
                description_en: "Forecasts sales from data",
                inputs: &[
                    needed("history", "Past sales"),
                    needed("period", "What is to be foreseen"),
                    optional("factors", "What may change them"),
                ],
                task: "Forecast sales for the period given from the history given, with a cautious, a likely and a bold case, and say how each is reached.",
                sections: &["Method", "Forecast", "Assumptions", "Risks"],
                agent: "sales_001",
            },
        ],
    },
    Agent {
        id: "operations_001",
        name_es: "Agente de operaciones",
        name_en: "Operations agent",
        business_area: "operations",
        role: "You are the operations agent of a company. You better processes, plan resources and guard quality, and you say for each change what it costs and how its effect is measured.",
        capabilities: &[
            Capability {
                name: "process_optimization",
                description_es: "Mejora un proceso",
                description_en: "Betters a process",
                inputs: &[
                    needed("process", "The process as it is"),
                    optional("problems", "What goes wrong"),
                    optional("constraints", "What cannot change"),
                ],
                task: "Find the bottlenecks and the waste in the process given, and propose changes in order of effect.",
                sections: &["The process today", "Bottlenecks", "Changes", "Measures"],
                agent: "operations_001",
            },
            Capability {
                name: "resource_planning",
                description_es: "Planifica personas, medios y plazos",
                description_en: "Plans people, means and times",
                inputs: &[
                    needed("work", "What is to be done"),
                    needed("resources", "What there is"),
                    optional("deadline", "By when"),
                ],
                task: "Plan the people, means and times that the work given takes.",
                sections: &["Needs", "Plan", "Gaps", "Risks"],
                agent: "operations_001",
            },
            Capability {
                name: "quality_management",
                description_es: "Diseña controles de calidad",
                description_en: "Designs quality control",
                inputs: &[
                    needed("subject", "The product or process"),
                    optional("standards", "What it must keep"),
                    optional("incidents", "What went wrong before"),
                ],
                task: "Design quality control for the product or process given: criteria, checks, what happens when a check fails.",
                sections: &["Criteria", "Checks", "When a check fails", "Indicators"],
                agent: "operations_001",
            },
        ],
    },
    Agent {
        id: "hr_001",
        name_es: "Agente de recursos humanos",
        name_en: "Human resources agent",
        business_area: "hr",
        role: "You are the human resources agent of a company. You recruit, review and train, you judge by what the work needs, and you never use age, sex, origin, faith or health to judge anybody.",
        capabilities: &[
            Capability {
                name: "recruitment",
                description_es: "Prepara una selección: oferta, criterios y entrevista",
                description_en: "Prepares a recruitment: advertisement, criteria, interview",
                inputs: &[
                    needed("position", "The position"),
                    needed("requirements", "What it needs"),
                    optional("conditions", "What it offers"),
                ],
                task: "Prepare the recruitment for the position given.",
                sections: &["Advertisement", "Criteria", "Interview", "Calendar"],
                agent: "hr_001",
            },
            Capability {
                name: "performance_management",
                description_es: "Prepara una evaluación del desempeño",
                description_en: "Prepares a review of performance",
                inputs: &[
                    needed("role", "The role"),
                    needed("goals", "What was agreed"),
                    optional("facts", "What was seen"),
                ],
                task: "Prepare a review of performance for the role given, on facts that can be seen.",
                sections: &[
                    "Against the goals",
                    "Strengths",
                    "What to work on",
                    "Goals to come",
                ],
                agent: "hr_001",
            },
            Capability {
                name: "training_development",
                description_es: "Diseña un plan de formación",
                description_en: "Designs a training plan",
                inputs: &[
                    needed("team", "Who learns"),
                    needed("skills", "What"),
                    optional("time", "How much time there is"),
                ],
                task: "Design a training plan for the team and skills given.",
                sections: &["Goals", "Contents", "Calendar", "How learning is checked"],
                agent: "hr_001",
            },
        ],
    },
    Agent {
        id: "finance_001",
        name_es: "Agente de finanzas",
        name_en: "Finance agent",
        business_area: "finance",
        role: "You are the finance agent of a company. You plan, analyse costs and weigh investments, you show each calculation, and you say that what you write is no advice of a licensed adviser.",
        capabilities: &[
            Capability {
                name: "financial_planning",
                description_es: "Elabora un plan financiero",
                description_en: "Draws up a financial plan",
                inputs: &[
                    needed("situation", "Income, costs, debts, cash"),
                    needed("period", "Which time"),
                    optional("goals", "What shall be reached"),
                ],
                task: "Draw up a financial plan for the period given.",
                sections: &["Situation", "Plan", "Cash flow", "Risks"],
                agent: "finance_001",
            },
            Capability {
                name: "cost_analysis",
                description_es: "Analiza costes y dónde ahorrar",
                description_en: "Analyses costs and where to save",
                inputs: &[
                    needed("costs", "The costs"),
                    optional("activity", "What they are for"),
                    optional("target", "How much to save"),
                ],
                task: "Analyse the costs given: what they are, what drives them, where to save and what saving there would cost.",
                sections: &[
                    "Costs by kind",
                    "What drives them",
                    "Savings",
                    "What they would cost",
                ],
                agent: "finance_001",
            },
            Capability {
                name: "investment_analysis",
                description_es: "Analiza una inversión",
                description_en: "Analyses an investment",
                inputs: &[
                    needed("investment", "What is bought and for how much"),
                    needed("returns", "What it brings and when"),
                    optional("rate", "The discount rate"),
                ],
                task: "Analyse the investment given: net present value, internal rate of return and time to pay back where the figures allow it, and what they depend on.",
                sections: &["Figures", "What they depend on", "Risks", "Conclusion"],
                agent: "finance_001",
            },
        ],
    },
];

const fn needed(name: &'static str, description: &'static str) -> Input {
    Input {
        name,
        description,
        required: true,
    }
}

const fn optional(name: &'static str, description: &'static str) -> Input {
    Input {
        name,
        description,
        required: false,
    }
}
